"""R21, its first half: hostile names and parameters through the ORM and through cursors.

The full figure is 2,000 texts through 28 doors; the short form takes 50, on both databases.
What comes of each is what comes of it on Django's own engine, to the word; afterwards the
tables and their rows are what they were.
"""

from __future__ import annotations

import asyncio

import pytest
from django.db import connections

import onloop
from onloop import bridge
from onloop.db.backends.cursors import WatchedCursor
from tests.db.conftest import extra_alias  # noqa: F401 - a fixture
from tests.project.library.models import Author
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size
from tests.security import doors

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(50, full=2_000)


@pytest.fixture
def stock(db_clean, extra_alias):  # noqa: F811 - a fixture
    """An alias of Django's own engine for the same database; both have one author."""
    ours = connections.settings["default"]["ENGINE"]
    Author.objects.create(name=doors.SENTINEL)
    return extra_alias("stock", ENGINE=ours.replace("onloop.", "django."))


@pytest.fixture
def tables(db_clean):
    """`tables()`: each table and how many rows it has, by a connection that is not Django's."""
    names = {
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    }[db_clean.kind]

    def ask():
        with db_clean.connect() if db_clean.kind == "postgresql" else db_clean.file() as other:
            found = sorted(name for (name,) in other.execute(names).fetchall())
            return {
                name: other.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
                for name in found
            }

    return ask


@pytest.fixture
def try_all(stock, tables):
    """`try_all(doors, count)`: all texts through them, judged."""

    def run(some, count=COUNT):
        findings = Findings("R21, doors")
        before = tables()
        for name, door in some.items():
            texts = doors.texts(count)
            djangos = [doors.outcome(door, stock, text) for text in texts]
            ours = asyncio.run(on_the_loop(door, texts))
            for text, theirs, mine in zip(texts, djangos, ours, strict=True):
                findings.counts["texts through a door"] += 1
                findings.counts["refused"] += ": " in theirs and "Error" in theirs[:30]
                if mine != theirs:
                    told = f"{text[:60]!r}: {mine[:300]}, Django's: {theirs[:300]}"
                    findings.add(f"another outcome: {name}", told)
            if tables() != before:
                findings.add("escaped", f"{name}: {before} -> {tables()}")
                before = tables()
        findings.judge()
        return findings

    return run


async def on_the_loop(door, texts):
    async def one(text):
        async with onloop.scope():
            return await bridge.run(doors.outcome, door, "default", text)

    return [await one(text) for text in texts]


def test_what_comes_of_hostile_texts_is_what_comes_of_them_in_django(try_all):
    findings = try_all(doors.DOORS)
    assert findings.counts["texts through a door"] >= COUNT * 0.9 * len(doors.DOORS)
    assert findings.counts["refused"] > COUNT


# --- the harness finds what is broken on purpose ----------------------------------------------


def test_a_cursor_that_writes_parameters_into_the_text_is_found(try_all, monkeypatch):
    execute = WatchedCursor.execute

    def careless(self, query, params=None, **kwargs):
        if isinstance(query, str) and params:
            query = query.replace("?", "%s") % tuple(f"'{value}'" for value in params)
            params = None
        return execute(self, query, params, **kwargs)

    monkeypatch.setattr(WatchedCursor, "execute", careless)
    with pytest.raises(Found) as caught:
        try_all({"parameter of execute": doors.cursor}, 40)
    assert caught.value.kinds["another outcome: parameter of execute"] > 5


def test_a_row_that_a_text_has_left_is_found(try_all, monkeypatch):
    """As if it had got out of its block."""

    undone = doors.outcome

    def outcome(door, alias, text):
        if alias == "default" and ";" in text:
            Author.objects.create(name=f"escaped by {text}")
        return undone(door, alias, text)

    monkeypatch.setattr(doors, "outcome", outcome)
    with pytest.raises(Found) as caught:
        try_all({"execute": doors.cursor}, 10)
    assert "escaped" in caught.value.kinds
