"""What a pool does when nobody asks: by itself first, then with real connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable
from onloop.db.pool.upkeep import Upkeep
from tests.database import TestDatabases
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import abackend_pid, afetch, all_back, anames, assert_all_back, pool_stats
from .pooled import Connection, Pooled


@pytest.fixture
async def kept() -> Any:
    """`kept(**options)`: a pool with its upkeep, on the loop of the test."""
    made: list[Pooled] = []

    def make(**options: Any) -> Pooled:
        pooled = Pooled(**{"max_idle": 0.2, **options})
        Upkeep(asyncio.get_running_loop(), pooled.pool, pooled.driver.open).start()
        made.append(pooled)
        return pooled

    yield make
    for pooled in made:
        pooled.pool.close()


def sizes(pooled: Pooled) -> tuple[int, int]:
    stats = pooled.pool.stats()
    return stats["pool_size"], stats["pool_available"]


# --- refilling and shrinking ------------------------------------------------------------------


async def test_a_pool_is_filled_to_min_size_without_anybody_asking(
    kept: Callable[..., Pooled],
) -> None:
    pooled = kept(min_size=3)
    await eventually(lambda: sizes(pooled) == (3, 3))
    pooled.assert_whole()


async def test_connections_beyond_min_size_are_closed_once_they_are_idle_for_long(
    kept: Callable[..., Pooled],
) -> None:
    pooled = kept(min_size=1)
    borrowed = [await pooled.aget() for _ in range(5)]
    for taken in borrowed:
        pooled.put(taken)
    assert sizes(pooled) == (5, 5)
    await eventually(lambda: sizes(pooled) == (1, 1))
    pooled.assert_whole()


async def test_a_connection_that_is_used_is_not_idle(kept: Callable[..., Pooled]) -> None:
    pooled = kept(min_size=0)
    other, used = await pooled.aget(), await pooled.aget()
    pooled.put(other)
    await eventually(lambda: other.closed)
    assert not used.closed
    pooled.put(used)


async def test_dead_idle_connections_are_replaced(kept: Callable[..., Pooled]) -> None:
    pooled = kept(min_size=2)
    await eventually(lambda: sizes(pooled) == (2, 2))
    dead = list(pooled.driver.opened)
    for opened in dead:
        opened.alive = False
    await eventually(lambda: len(pooled.driver.opened) == 4 and sizes(pooled) == (2, 2))
    assert all(opened.closed for opened in dead)
    assert pooled.pool.stats()["connections_lost"] == 2


async def test_old_idle_connections_are_replaced(kept: Callable[..., Pooled]) -> None:
    pooled = kept(min_size=1, max_idle=600, max_lifetime=0.2)
    await eventually(lambda: len(pooled.driver.opened) >= 3)
    assert pooled.driver.open_now <= 1


async def test_an_absent_server_is_asked_again_until_it_is_there(
    kept: Callable[..., Pooled],
) -> None:
    pooled = kept(min_size=2)
    pooled.driver.fail = True
    await eventually(lambda: pooled.driver.attempts >= 3)
    pooled.driver.fail = False
    await eventually(lambda: sizes(pooled) == (2, 2))


async def test_who_gives_up_says_so_and_callers_go_on_trying(
    kept: Callable[..., Pooled], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    with caplog.at_level(logging.WARNING, "onloop.db"):
        pooled = kept(min_size=1, reconnect_timeout=0.0, reconnect_failed=told.append)
        pooled.driver.fail = True
        await eventually(lambda: told)
    assert told[0] is pooled.pool
    assert "has not been refilled within 0 s" in caplog.text
    pooled.driver.fail = False

    async def served() -> bool:
        try:
            pooled.put(await pooled.aget())
        except DatabaseUnavailable:
            return False
        return True

    await eventually(served)


async def test_who_has_given_up_tries_again_once_a_caller_got_through(
    kept: Callable[..., Pooled],
) -> None:
    told: list[Any] = []
    pooled = kept(min_size=2, reconnect_timeout=0.0, reconnect_failed=told.append)
    pooled.driver.fail = True
    await eventually(lambda: told)
    attempts = pooled.driver.attempts
    await asyncio.sleep(0.3)  # several looks later
    assert (pooled.driver.attempts, len(told)) == (attempts, 1)
    pooled.driver.fail = False
    await asyncio.sleep(0.3)
    assert pooled.driver.attempts == attempts
    pooled.put(await pooled.aget())
    await eventually(lambda: sizes(pooled) == (2, 2))
    assert len(told) == 1


async def test_a_pool_that_is_closed_is_left_alone(kept: Callable[..., Pooled]) -> None:
    pooled = kept(min_size=2)
    await eventually(lambda: sizes(pooled) == (2, 2))
    pooled.pool.close()
    assert sizes(pooled) == (0, 0)
    await asyncio.sleep(0.2)  # several looks later
    assert pooled.driver.open_now == 0


# --- tidying up -------------------------------------------------------------------------------


async def test_what_cannot_be_lent_as_it_is_is_tidied_up_first(
    kept: Callable[..., Pooled],
) -> None:
    reset: list[Connection] = []
    pooled = kept(reset=reset.append)
    taken = await pooled.aget()
    pooled.pool.reap(taken)
    assert sizes(pooled) == (1, 0)
    await eventually(lambda: sizes(pooled) == (1, 1))
    assert taken.tidied == 1
    assert reset == [taken]


async def test_what_cannot_be_tidied_up_is_closed(kept: Callable[..., Pooled]) -> None:
    def fail(connection: Connection) -> None:
        raise DatabaseUnavailable("it is gone")

    pooled = kept(reset=fail)
    taken = await pooled.aget()
    pooled.pool.reap(taken)
    await eventually(lambda: taken.closed)
    assert sizes(pooled) == (0, 0)


async def test_what_takes_too_long_to_tidy_up_is_closed(
    kept: Callable[..., Pooled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onloop.db.pool.upkeep.TIDY_S", 0.02)
    pooled = kept(reset=lambda connection: bridge.await_(asyncio.Event().wait()))
    taken = await pooled.aget()
    pooled.pool.reap(taken)
    await eventually(lambda: taken.closed)
    assert sizes(pooled) == (0, 0)


def test_what_is_to_be_tidied_up_when_the_loop_ends_is_closed() -> None:
    """`asyncio.run` cancels the task before its first step."""
    pooled = Pooled()

    async def main() -> Connection:
        Upkeep(asyncio.get_running_loop(), pooled.pool, pooled.driver.open).start()
        taken = await pooled.aget()
        asyncio.get_running_loop().call_soon(pooled.pool.reap, taken)
        await asyncio.sleep(0)
        return taken

    assert asyncio.run(main()).closed
    assert sizes(pooled) == (0, 0)


def test_what_comes_back_after_its_loop_is_closed() -> None:
    pooled = Pooled()

    async def main() -> Connection:
        Upkeep(asyncio.get_running_loop(), pooled.pool, pooled.driver.open).start()
        await asyncio.sleep(0)
        return await pooled.aget()

    taken = asyncio.run(main())
    pooled.pool.reap(taken)
    assert taken.closed
    assert sizes(pooled) == (0, 0)


# --- with real connections --------------------------------------------------------------------

real = pytest.mark.usefixtures("db_clean")


@real
@pytest.mark.only_on("postgresql")
async def test_the_connection_of_a_cursor_left_by_break_is_used_again() -> None:
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))
    pid = await abackend_pid()
    async for _ in Author.objects.aiterator(chunk_size=5):
        break
    await eventually(all_back)
    assert await abackend_pid() == pid
    assert await afetch("SELECT count(*) FROM pg_cursors WHERE is_holdable") == 0
    assert (await pool_stats())["connections_num"] == 1


@real
@pytest.mark.only_on("postgresql")
async def test_back_ends_that_died_while_idle_are_replaced_without_anybody_asking(
    db_clean: TestDatabases,
    extra_alias: Callable[..., str],
    pg_activity: Callable[..., Any],
) -> None:
    alias = extra_alias("kept", OPTIONS={"pool": {"min_size": 2, "max_idle": 0.2}})

    def pids() -> set[int]:
        return {backend.pid for backend in pg_activity(application_name="onloop-tests")}

    await anames(alias)
    await eventually(lambda: len(pids()) == 2)
    before = pids()
    with db_clean.connect() as outsider:
        outsider.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [[*before]])
    await eventually(lambda: len(pids()) == 2 and not pids() & before)
    await eventually(lambda: all_back(alias))


@real
async def test_the_reserve_is_in_nobodys_transaction(extra_alias: Callable[..., str]) -> None:
    """The upkeep begins with the first query, here inside of a block."""
    alias = extra_alias("kept", OPTIONS={"pool": {"min_size": 3, "max_idle": 0.2}})

    async def filled() -> bool:
        return (await pool_stats(alias))["pool_size"] == 3

    async with transaction.atomic(using=alias):
        await Author.objects.using(alias).acreate(name="Ann")
    async with transaction.atomic(using=alias):
        await Author.objects.using(alias).acreate(name="Bob")
        await eventually(filled)
    assert await anames(alias) == ["Ann", "Bob"]
    await eventually(lambda: all_back(alias))


@real
@pytest.mark.only_on("postgresql")
async def test_health_checks_ask_the_server_about_idle_connections(
    extra_alias: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onloop.db.pool.pool.CHECK_AFTER_S", 0.0)
    checked: list[Any] = []

    def check(connection: Any) -> None:
        connection.execute("")
        checked.append(connection.info.backend_pid)
        if len(checked) == 2:
            raise ValueError("this one shall go")

    alias = extra_alias("checked", OPTIONS={"pool": {"check": check}})
    first = await abackend_pid(alias)
    assert await abackend_pid(alias) == first
    assert await abackend_pid(alias) != first
    assert checked[:2] == [first, first]
    await assert_all_back(alias)


@real
@pytest.mark.only_on("postgresql")
async def test_djangos_health_checks_are_the_drivers(
    extra_alias: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onloop.db.backends.postgresql.base import PsycopgDriver

    monkeypatch.setattr("onloop.db.pool.pool.CHECK_AFTER_S", 0.0)
    checked: list[Any] = []
    check = PsycopgDriver.check

    def counted(self: Any, connection: Any) -> None:
        check(self, connection)
        checked.append(connection)

    monkeypatch.setattr(PsycopgDriver, "check", counted)
    alias = extra_alias("checked", CONN_HEALTH_CHECKS=True)
    for _ in range(3):
        await anames(alias)
    assert len(checked) == 2
    await assert_all_back(alias)


@real
@pytest.mark.only_on("postgresql")
async def test_reset_is_called_before_a_connection_is_lent_again(
    extra_alias: Callable[..., str],
) -> None:
    def reset(connection: Any) -> None:
        connection.execute("SET application_name = 'reset'")

    alias = extra_alias("reset", OPTIONS={"pool": {"reset": reset, "max_size": 1}})
    pid = await abackend_pid(alias)
    assert await afetch("SHOW application_name", alias=alias) == "reset"
    assert await abackend_pid(alias) == pid
    await eventually(lambda: all_back(alias))
