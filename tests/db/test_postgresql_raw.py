"""PostgreSQL: psycopg's own connection, behind a wrapper of Django's and its pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from psycopg import IsolationLevel
from psycopg.rows import dict_row
from psycopg.types.json import JsonLoader
from psycopg.types.string import TextLoader

import onloop
from onloop import bridge
from onloop.db.backends.postgresql.connection import LoopConnection
from tests.project.library.models import Author

from .helpers import abackend_pid, afetch, anames, assert_all_back

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


def raw(alias: str = "default") -> LoopConnection:
    found = connections[alias].connection
    assert isinstance(found, LoopConnection)
    return found


@pytest.fixture
def one(extra_alias: Callable[..., str]) -> str:
    """An alias whose pool has one connection, so that everybody gets the same."""
    return extra_alias("one", OPTIONS={"pool": {"max_size": 1}})


# --- what is done to it and does not reach the next borrower ----------------------------------


def look(connection: LoopConnection) -> dict[str, Any]:
    return {
        "autocommit": connection.autocommit,
        "isolation_level": connection.isolation_level,
        "read_only": connection.read_only,
        "deferrable": connection.deferrable,
        "prepare_threshold": connection.prepare_threshold,
        "row_factory": connection.row_factory,
        "cursor_factory": connection.cursor_factory,
        "server_cursor_factory": connection.server_cursor_factory,
        "prepared_max": connection.prepared_max,
        "notice_handlers": list(connection._notice_handlers),
        "notify_handlers": list(connection._notify_handlers),
        "begins": connection._get_tx_start_command(),
        "json": connection.adapters.get_loader(25, psycopg.pq.Format.TEXT),
        "str": connection.adapters.get_dumper(str, psycopg.adapt.PyFormat.TEXT),
    }


def spoil_isolation_level(raw: LoopConnection) -> None:
    raw.isolation_level = IsolationLevel.SERIALIZABLE


def spoil_read_only(raw: LoopConnection) -> None:
    raw.read_only = True


def spoil_deferrable(raw: LoopConnection) -> None:
    raw.deferrable = True


def spoil_autocommit(raw: LoopConnection) -> None:
    raw.autocommit = False


def spoil_prepare_threshold(raw: LoopConnection) -> None:
    raw.prepare_threshold = 0


def spoil_row_factory(raw: LoopConnection) -> None:
    raw.row_factory = dict_row


def spoil_cursor_factory(raw: LoopConnection) -> None:
    raw.cursor_factory = psycopg.ClientCursor


def spoil_server_cursor_factory(raw: LoopConnection) -> None:
    raw.server_cursor_factory = psycopg.RawServerCursor


def spoil_prepared_max(raw: LoopConnection) -> None:
    raw.prepared_max = 7


def spoil_notice_handlers(raw: LoopConnection) -> None:
    raw.add_notice_handler(print)


def spoil_notify_handlers(raw: LoopConnection) -> None:
    raw.add_notify_handler(print)


def spoil_loaders(raw: LoopConnection) -> None:
    raw.adapters.register_loader("text", JsonLoader)


def spoil_dumpers(raw: LoopConnection) -> None:
    raw.adapters.register_dumper(str, psycopg.types.string.StrDumperName)


SPOILERS = {name: spoil for name, spoil in globals().items() if name.startswith("spoil_")}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
async def test_what_is_set_on_a_pinned_connection_does_not_reach_the_next_borrower(
    one: str, spoil: Callable[[LoopConnection], None]
) -> None:
    def pinned() -> dict[str, Any]:
        wrapper = connections[one]
        wrapper.ensure_connection()
        before = look(raw(one))
        spoil(raw(one))
        assert look(raw(one)) != before
        wrapper.close()
        return before

    def next_one() -> dict[str, Any]:
        with connections[one].cursor():
            return look(raw(one))

    pid = await abackend_pid(one)
    assert await bridge.run(pinned) == await bridge.run(next_one)
    assert await abackend_pid(one) == pid
    await assert_all_back(one)


async def test_a_block_of_the_next_borrower_is_writable_and_commits(one: str) -> None:
    """A connection that was left read-only, or not in autocommit mode, would lose the row."""

    def pinned() -> None:
        connections[one].ensure_connection()
        raw(one).read_only = True
        raw(one).autocommit = False
        connections[one].close()

    await bridge.run(pinned)
    await Author.objects.using(one).acreate(name="Ann")
    assert await anames() == ["Ann"]


async def test_autocommit_that_a_scope_left_off_does_not_reach_the_next_one(one: str) -> None:
    def switch_off() -> None:
        connections[one].ensure_connection()
        connections[one].set_autocommit(False)

    async with onloop.scope():
        await bridge.run(switch_off)
    async with onloop.scope():
        await Author.objects.using(one).acreate(name="Ann")
    assert await anames() == ["Ann"]


async def test_a_receivers_adapters_and_handlers_stay_with_the_connection(one: str) -> None:
    notices: list[str] = []

    def receiver(connection: Any, **kwargs: Any) -> None:
        connection.connection.adapters.register_loader("jsonb", TextLoader)
        connection.connection.adapters.register_loader("bool", TextLoader)
        connection.connection.add_notice_handler(lambda d: notices.append(d.message_primary))

    connection_created.connect(receiver)
    try:
        for _ in range(3):
            assert await afetch("SELECT true", alias=one) == "t"
            await afetch("DO $$ BEGIN RAISE NOTICE 'hello'; END $$", alias=one)
    finally:
        connection_created.disconnect(receiver)
    assert notices == ["hello"] * 3
