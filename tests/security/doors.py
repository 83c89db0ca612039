"""The doors through which text comes to a database, and texts that would like to be SQL.

A door is a function of an alias and a text. What comes of it is a value or an exception, which
`outcome` puts into words that can be compared.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connections, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Concat, Upper

from tests.project.library.models import Author, Review, Tag

SENTINEL = "sentinel"

_QUOTES = [
    "'",
    '"',
    "`",
    "''",
    '""',
    "\\'",
    '\\"',
    "\u2019",
    "\u02bc",
    "$$",
    "$a$",
    "E'",
    "[",
    "]",
]
_PLACES = [
    "%",
    "%%",
    "%s",
    "%(name)s",
    "%b",
    "%t",
    "{}",
    "{0.x}",
    "?",
    "?1",
    ":a",
    "@a",
    "$1",
    "#",
]
_ENDS = [
    "; DROP TABLE library_author; --",
    ") OR 1=1 --",
    " UNION SELECT 1 --",
    "/*",
    "*/",
    "--",
]
_ODD = [
    "\0", "a\0b", "\x1a", "\ud800", "\udcff", "a\ud83dz", "\u2028", "\ufeff", "\r\n", "\t",
    "\\", "\\0", "\\x00", "\U0001f642", "\u0130", "ß", "", " ", "NULL", "default", "__",
    "a__b", "pk", "-1", "1e309", "()", "*", "a.b", "-a", "?", "../..", "a" * 64, "x" * 100_000,
]  # fmt: skip


def texts(count: int) -> list[str]:
    """`count` hostile texts, the same ones each time; those that have a purpose come first."""
    return list(dict.fromkeys(_texts(count)))[:count]


def _texts(count: int) -> Iterator[str]:
    for quote in ("'", '"'):
        for end in _ENDS[:3]:
            yield quote + end
    yield from _ODD
    yield from _QUOTES
    yield from _PLACES
    for quote in ("'", '"', "')", '")', "", "$$"):
        for end in _ENDS:
            yield quote + end
    chance = random.Random(21)
    pieces = [*_QUOTES, *_PLACES, *_ENDS, *_ODD[:12], " ", "a", "SELECT", "1", ",", "(", ")"]
    for _ in range(2 * count):
        yield "".join(chance.choices(pieces, k=chance.randint(2, 6)))


# --- parameters -------------------------------------------------------------------------------


def created(alias: str, text: str) -> Any:
    Author.objects.using(alias).create(name=text)
    return list(Author.objects.using(alias).order_by("pk").values_list("name", flat=True))


def created_at_once(alias: str, text: str) -> Any:
    Tag.objects.using(alias).bulk_create([Tag(name=text), Tag(name="other")])
    return Tag.objects.using(alias).filter(name=text).count()


def updated(alias: str, text: str) -> Any:
    authors = Author.objects.using(alias).filter(name=SENTINEL)
    return authors.update(name=text), Author.objects.using(alias).get().name


def _filtered(lookup: str) -> Callable[[str, str], Any]:
    def door(alias: str, text: str) -> Any:
        found = Author.objects.using(alias).filter(**{f"name__{lookup}": text})
        return list(found.values_list("name", flat=True))

    return door


def one_of(alias: str, text: str) -> Any:
    return Author.objects.using(alias).filter(name__in=[text, "a", text + "b"]).count()


def annotated(alias: str, text: str) -> Any:
    authors = Author.objects.using(alias).annotate(
        a=Value(text), b=Concat("name", Value(text)), c=Upper(Value(text))
    )
    return list(authors.values_list("a", "b", "c"))


def iterated(alias: str, text: str) -> Any:
    """By a cursor at the server, where there is such a thing."""
    found = Author.objects.using(alias).exclude(name=text).values_list("name", Value(text))
    return list(found.iterator(chunk_size=1))


def raw(alias: str, text: str) -> Any:
    query = "SELECT id, name FROM library_author WHERE name <> %s"
    return [author.name for author in Author.objects.using(alias).raw(query, [text])]


def raw_by_name(alias: str, text: str) -> Any:
    query = "SELECT id, name FROM library_author WHERE name <> %(text)s AND '%%' = '%%'"
    return [author.name for author in Author.objects.using(alias).raw(query, {"text": text})]


def cursor(alias: str, text: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name FROM library_author WHERE name <> %s", [text])
        return cursor.fetchall()


def many(alias: str, text: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.executemany("INSERT INTO library_tag (name) VALUES (%s)", [[text], ["b"]])
        cursor.execute("SELECT name FROM library_tag ORDER BY id")
        return cursor.fetchall()


def extra(alias: str, text: str) -> Any:
    authors = Author.objects.using(alias)
    return authors.extra(where=["name <> %s"], params=[text]).count()


def related(alias: str, text: str) -> Any:
    return Review.objects.using(alias).filter(Q(book__author__name=text) | Q(text=text)).count()


# --- names ------------------------------------------------------------------------------------


def alias_of_a_column(alias: str, text: str) -> Any:
    return list(Author.objects.using(alias).annotate(**{text: F("name")}).values_list(text))


def filter_of_a_name(alias: str, text: str) -> Any:
    return Author.objects.using(alias).filter(**{text: SENTINEL}).count()


def order(alias: str, text: str) -> Any:
    return list(Author.objects.using(alias).order_by(text).values_list("name"))


def values(alias: str, text: str) -> Any:
    return list(Author.objects.using(alias).values(text))


def only(alias: str, text: str) -> Any:
    return [author.name for author in Author.objects.using(alias).only(text)]


def relation(alias: str, text: str) -> Any:
    return list(Author.objects.using(alias).select_related(text))


def distinct(alias: str, text: str) -> Any:
    return list(Author.objects.using(alias).distinct(text))


def explain_format(alias: str, text: str) -> Any:
    return type(Author.objects.using(alias).explain(format=text))


def explain_option(alias: str, text: str) -> Any:
    return type(Author.objects.using(alias).explain(**{text: True}))


def function(alias: str, text: str) -> Any:
    """Its name is written by programmers; here it goes in as Django puts it."""
    value = Func(Value(text), function="LOWER")
    return list(Author.objects.using(alias).values_list(value))


PARAMETERS = {
    "create": created, "bulk_create": created_at_once, "update": updated, "in": one_of,
    "annotate": annotated, "iterator": iterated, "raw": raw, "raw by name": raw_by_name,
    "execute": cursor, "executemany": many, "extra": extra, "related": related,
    "function": function,
    **{
        lookup: _filtered(lookup)
        for lookup in ("exact", "iexact", "contains", "icontains", "startswith", "regex")
    },
}  # fmt: skip
NAMES = {
    "annotate": alias_of_a_column, "filter": filter_of_a_name, "order_by": order,
    "values": values, "only": only, "select_related": relation, "distinct": distinct,
    "explain(format)": explain_format, "explain(option)": explain_option,
}  # fmt: skip
DOORS = {**{f"parameter of {name}": door for name, door in PARAMETERS.items()},
         **{f"name in {name}": door for name, door in NAMES.items()}}  # fmt: skip


class _Undo(Exception):
    pass


def outcome(door: Callable[[str, str], Any], alias: str, text: str) -> str:
    """What comes of `door`, in words; whatever it wrote is taken back."""
    seen = ""
    try:
        with transaction.atomic(using=alias):
            seen = repr(door(alias, text))
            raise _Undo
    except _Undo:
        return seen
    except Exception as exc:  # noqa: BLE001 - it is the outcome
        # The server tells a cursor's number, and Python an object's address.
        return re.sub(r"_django_curs_\w+|0x[0-9a-f]+", "…", f"{type(exc).__name__}: {exc}")
