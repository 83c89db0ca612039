"""What a scope hands on: execute wrappers, forced debug cursors and the query log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asgiref.sync
import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

import onloop
from onloop import bridge
from tests.project.library.models import Author

from .helpers import anames, names

pytestmark = pytest.mark.usefixtures("db_clean")


class Listener:
    """An execute wrapper that counts."""

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, execute: Any, *args: Any) -> Any:
        self.heard += 1
        return execute(*args)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(autouse=True)
def _close_the_threads_connections() -> Iterator[None]:
    yield
    asgiref.sync.SyncToAsync.single_thread_executor.submit(connections.close_all).result()


async def thrice() -> None:
    await asyncio.gather(*(anames() for _ in range(3)))


# --- execute wrappers -------------------------------------------------------------------------


def test_they_hold_for_children_of_a_bare_task(
    runner: asyncio.Runner, listener: Listener
) -> None:
    async def main() -> None:
        with connection.execute_wrapper(listener):
            await thrice()

    runner.run(main())
    assert listener.heard == 3


def test_they_hold_for_children_of_a_scope(runner: asyncio.Runner, listener: Listener) -> None:
    async def main() -> None:
        async with onloop.scope():
            with connection.execute_wrapper(listener):
                await thrice()

    runner.run(main())
    assert listener.heard == 3


@pytest.mark.parametrize("scoped", [False, True], ids=["bare", "scoped"])
async def test_they_hold_for_grandchildren(listener: Listener, scoped: bool) -> None:
    async def child() -> None:
        if scoped:
            async with onloop.scope():
                await thrice()
        else:
            await thrice()

    with connection.execute_wrapper(listener):
        await asyncio.create_task(child())
    assert listener.heard == 3


async def test_they_hold_for_grandchildren_of_a_task_that_used_another_database(
    listener: Listener,
) -> None:
    async def child() -> None:
        await anames("other")
        await thrice()

    with connection.execute_wrapper(listener):
        await asyncio.create_task(child())
    assert listener.heard == 3


async def test_they_hold_for_a_grandchild_that_outlives_the_child(listener: Listener) -> None:
    over = asyncio.Event()
    left: list[asyncio.Task[Any]] = []

    async def grandchild() -> None:
        await over.wait()
        await anames()

    async def child() -> None:
        await anames("other")
        left.append(asyncio.create_task(grandchild()))

    with connection.execute_wrapper(listener):
        await asyncio.create_task(child())
        over.set()
        await left[0]
    assert listener.heard == 1


async def test_they_hold_for_a_scope_inside_of_a_task(listener: Listener) -> None:
    with connection.execute_wrapper(listener):
        async with onloop.scope():
            await anames()
    assert listener.heard == 1


async def test_those_of_a_child_are_not_its_parents(listener: Listener) -> None:
    async def child() -> None:
        with connection.execute_wrapper(listener):
            await anames()

    await anames()
    await asyncio.create_task(child())
    await anames()
    assert listener.heard == 1


async def test_a_child_may_add_its_own(listener: Listener) -> None:
    own = Listener()

    async def child() -> None:
        with connection.execute_wrapper(own):
            await anames()
        await anames()

    with connection.execute_wrapper(listener):
        await asyncio.create_task(child())
        await anames()
    assert (listener.heard, own.heard) == (3, 1)


async def test_a_task_made_in_a_scope_that_is_over_has_none_of_it(listener: Listener) -> None:
    over = asyncio.Event()

    async def late() -> None:
        await over.wait()
        await anames()

    async with onloop.scope():
        with connection.execute_wrapper(listener):
            task = asyncio.create_task(late())
    over.set()
    await task
    assert listener.heard == 0


async def test_they_hold_for_threads_that_join_a_block(listener: Listener) -> None:
    async with transaction.atomic():
        with connection.execute_wrapper(listener):
            await asyncio.to_thread(names)
            await asgiref.sync.sync_to_async(names)()
            await asyncio.create_task(anames())
    assert listener.heard == 3


async def test_a_task_that_a_thread_has_made_inherits_from_the_one_around_it(
    listener: Listener,
) -> None:
    with connection.execute_wrapper(listener):
        await asgiref.sync.sync_to_async(asgiref.sync.async_to_sync(thrice))()
        await thrice()
    assert listener.heard == 6


def test_they_hold_for_async_code_of_sync_code(listener: Listener) -> None:
    """An async view under WSGI, with a toolbar that listens in its thread."""
    with connection.execute_wrapper(listener):
        asgiref.sync.async_to_sync(thrice)()
        names()
    asgiref.sync.async_to_sync(thrice)()
    assert listener.heard == 4


# --- the query log ----------------------------------------------------------------------------


def test_the_log_counts_what_children_of_a_bare_task_do(runner: asyncio.Runner) -> None:
    async def main() -> int:
        connection.force_debug_cursor = True
        await anames()
        await thrice()
        return len(connection.queries)

    assert runner.run(main()) == 4


async def test_queries_are_captured_in_children_and_grandchildren() -> None:
    async def child() -> None:
        await thrice()

    async def main() -> int:
        with CaptureQueriesContext(connection) as captured:
            await anames()
            await asyncio.create_task(child())
            async with transaction.atomic():
                await asyncio.gather(anames(), asyncio.to_thread(names))
        await anames()
        return len([query for query in captured if query["sql"].startswith("SELECT")])

    async with onloop.scope():
        assert await asyncio.create_task(main()) == 6


def test_the_log_of_sync_code_counts_what_its_async_code_does() -> None:
    with CaptureQueriesContext(connection) as captured:
        asgiref.sync.async_to_sync(thrice)()
    assert len(captured) == 3


async def test_a_task_whose_parent_does_not_log_does_not_log() -> None:
    async def child() -> bool:
        await anames()
        return connections["default"].queries_logged

    await anames()
    assert not await asyncio.create_task(child())


async def test_created_connections_are_announced_once_each() -> None:
    from django.db.backends.signals import connection_created

    created: list[Any] = []

    def note(connection: Any, **kwargs: Any) -> None:
        created.append(connection.connection)

    connection_created.connect(note)
    try:
        await thrice()
        await thrice()
        await bridge.run(names)
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await thrice()
    finally:
        connection_created.disconnect(note)
    assert len({id(one) for one in created}) == len(created) <= 3
