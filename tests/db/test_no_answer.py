"""The end of a block, when the server does not answer: given up after a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from onloop import bridge
from onloop.db import leaving
from onloop.db.backends.postgresql import connection as driver
from onloop.testing import FaultProxy
from tests.database import close_pools
from tests.project.library.models import Author

from .eventually import eventually
from .helpers import anames, assert_all_back, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


@pytest.fixture
async def proxied(db_clean: Any, fault_proxy: FaultProxy) -> Any:
    """`default` behind a proxy; nothing that a test leaves waits for an answer."""
    with fault_proxy.in_front_of("default"):
        yield fault_proxy
        close_pools()


async def given_up(task: asyncio.Task[Any]) -> None:
    """It has to end although the server says nothing."""
    done, _ = await asyncio.wait([task], timeout=90)
    assert done, "the task hangs"


@pytest.mark.parametrize("often", [1, 2])
async def test_a_commit_without_an_answer_is_given_up_with_an_error(
    proxied: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    pg_activity: Callable[..., Any],
    often: int,
) -> None:
    """It has been committed, but nobody knows: that is an error, and no callback runs."""
    monkeypatch.setattr(leaving, "SHIELD_S", 0.05)
    ran: list[str] = []

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(lambda: ran.append("ran"))
            proxied.black_hole("down")

    task = asyncio.create_task(work())
    await eventually(lambda: pg_activity("COMMIT", state="idle"))
    for _ in range(often):
        task.cancel()
        await asyncio.sleep(0)
    await given_up(task)
    assert task.cancelled()
    assert ran == []
    proxied.forward()
    assert await anames() == ["Ann"]
    await assert_all_back()


async def test_a_rollback_without_an_answer_is_given_up_after_a_cancel(
    proxied: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancel came before: nobody will send another one."""
    monkeypatch.setattr(leaving, "SHIELD_S", 0.05)
    inside = asyncio.Event()

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            proxied.black_hole("both")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await given_up(task)
    assert task.cancelled()
    proxied.forward()
    assert await anames() == []
    await assert_all_back()


async def test_a_savepoint_without_an_answer_is_given_up_after_a_cancel(
    proxied: FaultProxy, monkeypatch: pytest.MonkeyPatch, pg_activity: Callable[..., Any]
) -> None:
    monkeypatch.setattr(leaving, "SHIELD_S", 0.05)

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            proxied.black_hole("down")
            async with transaction.atomic():
                pass

    task = asyncio.create_task(work())
    await eventually(lambda: pg_activity("SAVEPOINT", state="idle in transaction"))
    task.cancel()
    await given_up(task)
    assert task.cancelled()
    proxied.forward()
    assert await anames() == []
    await assert_all_back()


FIRST: dict[str, Callable[[], object]] = {
    "BEGIN": lambda: fetch("TABLE library_author"),
    "INSERT": lambda: Author.objects.create(name="Ann"),
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("often", [1, 2])
async def test_a_begin_without_an_answer_is_given_up_after_a_cancel(
    proxied: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    pg_activity: Callable[..., Any],
    often: int,
    first: str,
) -> None:
    """BEGIN goes together with the block's first statement, if that is the ORM's."""
    monkeypatch.setattr(driver, "CANCEL_S", 0.05)
    monkeypatch.setattr(driver, "DRAIN_S", 0.05)
    await anames()  # a connection is open

    async def work() -> None:
        async with transaction.atomic():
            proxied.black_hole("down")
            await bridge.run(FIRST[first])

    task = asyncio.create_task(work())
    await eventually(lambda: pg_activity(first, state="idle in transaction"))
    for _ in range(often):
        task.cancel()
        await asyncio.sleep(0)
    await given_up(task)
    assert task.cancelled()
    proxied.forward()
    assert await anames() == []
    await assert_all_back()
    await eventually(lambda: not pg_activity(first, state="idle in transaction"))


async def test_the_end_of_a_block_whose_connection_is_lost_opens_no_other_one(
    proxied: FaultProxy,
) -> None:
    """Django turns autocommit on again; the server may be away for long."""
    with pytest.raises(LookupError):
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            proxied.reset()
            proxied.refuse()
            raise LookupError
    assert not connection.in_atomic_block
    assert transaction.get_autocommit()
    proxied.forward()
    assert await anames() == []
    await assert_all_back()
