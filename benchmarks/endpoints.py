"""What is asked of every contender: the data, the requests and the right answers."""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

AUTHORS = 100
BOOKS = 2000
JOINED = 20
IN_TURN = 10

# Who is logged in, and the key of the session that says so.
USER = "reader"
SESSION_KEY = "benchmark" * 3 + "s" * 5

# Seconds that the database takes for the row of "slow".
SLOW_S = 0.02

# Neighbouring requests touch rows that lie apart, so that none waits for another's row lock.
STRIDE = 37


def author_name(author_id: int) -> str:
    return f"Author {author_id}"


def author_of(book_id: int) -> int:
    return book_id % AUTHORS + 1


def book_row(book_id: int) -> tuple[int, str, int, datetime.date, int, int]:
    """One row of the table: id, title, pages, published, sold, author_id."""
    published = datetime.date(2000, 1, 1) + datetime.timedelta(days=book_id)
    return book_id, f"Book {book_id}", 100 + book_id % 400, published, 0, author_of(book_id)


def _book(book_id: int) -> dict[str, Any]:
    _, title, pages, published, _, author_id = book_row(book_id)
    return {
        "id": book_id,
        "title": title,
        "pages": pages,
        "published": published.isoformat(),
        "author_id": author_id,
    }


def _joined(book_id: int) -> dict[str, Any]:
    return {
        "id": book_id,
        "title": f"Book {book_id}",
        "author": author_name(author_of(book_id)),
    }


@dataclass(frozen=True)
class Endpoint:
    name: str
    label: str
    answer: Callable[[int], Any]
    prefix: str
    method: str = "GET"
    span: int = 1  # how many rows one request touches, from its first one on
    cookie: str = ""
    only: tuple[str, ...] = ()  # the contenders that have it; all of them, if empty
    usual: bool = True  # measured where no endpoints are named
    warm_up_s: float = 0.0  # at least; until the pool is as large as it becomes

    def key(self, number: int) -> int:
        """The first row that request `number` asks for."""
        return number * STRIDE % (BOOKS - self.span) + 1

    def path(self, number: int) -> str:
        return f"{self.prefix}{self.key(number)}" if self.span else self.prefix

    def verify(self, number: int, status: int, body: bytes) -> None:
        wanted = self.answer(self.key(number))
        if status != 200 or json.loads(body) != wanted:
            raise AssertionError(
                f"{self.method} {self.path(number)} answered {status} {body[:300]!r}, "
                f"wanted 200 {json.dumps(wanted)[:300]}"
            )


ENDPOINTS = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint("json", "JSON, no database", lambda key: {"hello": "world"}, "/json", span=0),
        Endpoint("row", "one row", _book, "/row/"),
        Endpoint(
            "join",
            "20 rows, join",
            lambda key: {"books": [_joined(key + i) for i in range(JOINED)]},
            "/join/",
            span=JOINED,
        ),
        Endpoint(
            "ten",
            "ten rows in turn",
            lambda key: {"books": [_book(key + i) for i in range(IN_TURN)]},
            "/ten/",
            span=IN_TURN,
        ),
        Endpoint(
            "update",
            "one update in a transaction",
            lambda key: {"updated": 1},
            "/update/",
            "POST",
        ),
        Endpoint(
            "user",
            "session and user",
            lambda key: {"user": USER},
            "/user",
            span=0,
            cookie=f"sessionid={SESSION_KEY}",
            only=("stock", "wsgi", "onloop"),
        ),
        Endpoint(
            "slow",
            "sync view, 20 ms of database",
            _book,
            "/slow/",
            only=("stock", "wsgi", "onloop"),
            usual=False,
            warm_up_s=1.0,
        ),
    )
}
