"""`@transaction.atomic` on whatever can be decorated, and `ATOMIC_REQUESTS`' way to nest."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction

from onloop import bridge
from tests.project.library.models import Author

from .helpers import anames, assert_all_back, names

pytestmark = pytest.mark.usefixtures("db_clean")


async def in_block(*args: Any) -> bool:
    return connection.in_atomic_block


class Shop:
    """Methods of each kind."""

    @transaction.atomic
    async def method(self) -> tuple[Any, bool]:
        return self, connection.in_atomic_block

    @classmethod
    @transaction.atomic
    async def of_class(cls) -> tuple[Any, bool]:
        return cls, connection.in_atomic_block

    @staticmethod
    @transaction.atomic
    async def static() -> tuple[Any, bool]:
        return None, connection.in_atomic_block

    @transaction.atomic
    def sync_method(self) -> tuple[Any, bool]:
        return self, connection.in_atomic_block


async def test_methods_of_each_kind_can_be_decorated() -> None:
    shop = Shop()
    assert await shop.method() == (shop, True)
    assert await shop.of_class() == (Shop, True)
    assert await Shop.of_class() == (Shop, True)
    assert await shop.static() == (None, True)
    assert await bridge.run(shop.sync_method) == (shop, True)
    assert not connection.in_atomic_block


async def test_an_object_with_an_async_call_can_be_decorated() -> None:
    class Caller:
        async def __call__(self) -> bool:
            return connection.in_atomic_block

    assert await transaction.atomic(Caller())()  # type: ignore[arg-type]


async def test_a_class_whose_objects_have_an_async_call_is_made_in_a_block() -> None:
    class Caller:
        def __init__(self) -> None:
            self.made_in_block = connection.in_atomic_block

        async def __call__(self) -> None:
            pass

    made = await bridge.run(transaction.atomic(Caller))
    assert made.made_in_block


async def test_a_partial_of_an_async_function_can_be_decorated() -> None:
    assert await transaction.atomic(functools.partial(in_block, 1))()


def test_a_decorated_async_function_is_one_still_and_keeps_its_name() -> None:
    decorated = transaction.atomic(in_block)
    assert inspect.iscoroutinefunction(decorated)
    assert decorated.__name__ == "in_block"


def test_an_async_generator_function_is_refused_with_the_cure() -> None:
    async def rows() -> AsyncIterator[int]:
        yield 1

    for decorator in (transaction.atomic, transaction.atomic(using="other")):
        with pytest.raises(TypeError, match=r"rows\(\): write `async with transaction\.atomic"):
            decorator(rows)


async def test_arguments_and_results_pass_through() -> None:
    @transaction.atomic(savepoint=False)
    async def work(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    assert await work(1, two=2) == ((1,), {"two": 2})


async def test_recursion_nests_savepoints() -> None:
    @transaction.atomic
    async def work(depth: int) -> int:
        await Author.objects.acreate(name=str(depth))
        if depth:
            await work(depth - 1)
        return len(connection.savepoint_ids)

    assert await work(3) == 0
    assert await anames() == ["0", "1", "2", "3"]


async def test_recursion_of_a_sync_function_nests_savepoints() -> None:
    depths: list[int] = []

    @transaction.atomic
    def work(depth: int) -> None:
        depths.append(len(connection.atomic_blocks))
        if depth:
            work(depth - 1)

    await bridge.run(work, 3)
    assert depths == [1, 2, 3, 4]
    assert not connection.in_atomic_block
    await assert_all_back()


async def test_a_sync_decorated_function_in_many_bridges_has_a_block_for_each_call() -> None:
    """All of them share one `Atomic`."""

    @transaction.atomic
    def work(n: int) -> None:
        Author.objects.create(name=str(n))
        bridge.await_(asyncio.sleep(0))
        if n % 2:
            raise ZeroDivisionError

    calls = (bridge.run(work, n) for n in range(6))
    await asyncio.gather(*calls, return_exceptions=True)
    assert await anames() == ["0", "2", "4"]
    await assert_all_back()


async def test_a_sync_decorated_function_works_in_threads_inside_of_a_block() -> None:
    @transaction.atomic
    def work(n: int) -> None:
        Author.objects.create(name=str(n))
        if n % 2:
            raise ZeroDivisionError

    async with transaction.atomic():
        calls = (asyncio.to_thread(work, n) for n in range(6))
        await asyncio.gather(*calls, return_exceptions=True)
        assert await anames() == ["0", "2", "4"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_view_in_a_block_around_blocks_of_sync_and_async_code_is_one_whole(
    fails: bool,
) -> None:
    """`ATOMIC_REQUESTS` decorates the view, for each alias."""

    @transaction.atomic
    def sync_part() -> None:
        Author.objects.create(name="sync")

    async def view() -> None:
        await bridge.run(sync_part)
        async with transaction.atomic():
            await Author.objects.acreate(name="async")
        await Author.objects.using("other").acreate(name="other")
        if fails:
            raise ZeroDivisionError

    wrapped: Callable[[], Any] = view
    for alias in ("default", "other"):
        wrapped = transaction.atomic(using=alias)(wrapped)
    (result,) = await asyncio.gather(wrapped(), return_exceptions=True)
    assert isinstance(result, ZeroDivisionError) is fails
    assert await anames() == ([] if fails else ["async", "sync"])
    assert await anames("other") == ([] if fails else ["other"])
    assert await bridge.run(names) == await anames()


async def test_non_atomic_requests_marks_an_async_view() -> None:
    @transaction.non_atomic_requests
    @transaction.non_atomic_requests(using="other")
    async def view() -> bool:
        return connection.in_atomic_block

    assert view._non_atomic_requests == {"default", "other"}  # type: ignore[attr-defined]
    assert not await view()
    assert not connections["other"].in_atomic_block


async def test_durable_holds_for_tasks_and_threads_that_joined_a_block() -> None:
    """They commit nothing: whatever they write goes with the block around them."""

    @transaction.atomic(durable=True)
    def write() -> None:
        Author.objects.create(name="Ann")

    @transaction.atomic(durable=True)
    async def awrite() -> None:
        await Author.objects.acreate(name="Ann")

    async with transaction.atomic():
        for inner in (awrite(), asyncio.to_thread(write), bridge.run(write)):
            with pytest.raises(RuntimeError, match="durable"):
                await asyncio.create_task(inner)
        assert await anames() == []
    await asyncio.create_task(awrite())
    assert await anames() == ["Ann"]
    await assert_all_back()
