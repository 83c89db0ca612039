"""What the tests of the engine share: statements by hand, rows, and what the pool says."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import Sequence, Set
from typing import Any

from django.db import connections

from onloop import bridge
from tests.project.library.models import Author, Book

PUBLISHED = datetime.date(1999, 12, 31)


def fetch(sql: str, params: Sequence[Any] = (), alias: str = "default") -> Any:
    """The first value of a statement's first row, asked for through the caller's connection."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


async def afetch(sql: str, params: Sequence[Any] = (), alias: str = "default") -> Any:
    return await bridge.run(fetch, sql, params, alias)


def backend_pid(alias: str = "default") -> int:
    return fetch("SELECT pg_backend_pid()", alias=alias)


async def abackend_pid(alias: str = "default") -> int:
    return await bridge.run(backend_pid, alias)


async def pool_stats(alias: str = "default") -> dict[str, int]:
    return await bridge.run(connections[alias].pool_stats)


async def all_back(alias: str = "default") -> bool:
    stats = await pool_stats(alias)
    return stats["pool_size"] == stats["pool_available"]


async def assert_all_back(alias: str = "default") -> None:
    """Every connection that the loop's pool has opened lies in it.

    The scope of a bare task ends by a callback of the task, which may run just after whoever
    awaits the task has been woken: one pass of the loop is let go by.
    """
    await asyncio.sleep(0)
    stats = await pool_stats(alias)
    assert stats["pool_size"] == stats["pool_available"], stats
    assert stats["requests_waiting"] == 0, stats


def make_books(author: str = "Ann", count: int = 1, alias: str = "default") -> list[Book]:
    """Rows for tests that do not care about them; synchronous, for bridges and threads."""
    owner = Author.objects.using(alias).create(name=author)
    return Book.objects.using(alias).bulk_create(
        Book(author=owner, title=f"{author} {n}", published=PUBLISHED, price=n)
        for n in range(count)
    )


async def amake_books(author: str = "Ann", count: int = 1, alias: str = "default") -> Any:
    return await bridge.run(make_books, author, count, alias)


def names(alias: str = "default") -> list[str]:
    return list(Author.objects.using(alias).order_by("name").values_list("name", flat=True))


async def anames(alias: str = "default") -> list[str]:
    return await bridge.run(names, alias)


def open_sockets(others: Set[int]) -> set[str]:
    """The sockets of this process, without the descriptors of `others`."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            target = os.readlink(f"/proc/self/fd/{number}")
            if target.startswith("socket:") and int(number) not in others:
                found.add(target)
    return found
