"""`ONLOOP["IMPLICIT_IO"] = "raise"`: a coroutine waits for the database by `await`, or not."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asgiref.sync
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.test import override_settings

import onloop
from tests.loops import eager_task
from tests.project.library.models import Author, Book

from . import ways
from .helpers import amake_books, assert_all_back
from .ways import EXPLICIT, IMPLICIT, alist, get, lazy_relation, run_in_bridge

STRICT = {"IMPLICIT_IO": "raise"}
# Or do not wait.
MAKE_A_BRIDGE = (
    ways.behind_sync_code, ways.behind_onloops_adapter, ways.block, ways.autocommit
)  # fmt: skip


@pytest.fixture(autouse=True)
async def strict(db_clean):
    await amake_books("Ann", 2)
    with override_settings(ONLOOP=STRICT):
        yield


async def in_task(function: Any) -> Any:
    """Run `function` in a task that is bridged, as all of a request are."""
    async with onloop.scope():
        return await asyncio.create_task(function())


by_name = pytest.mark.parametrize("way", IMPLICIT, ids=lambda way: way.__name__)


@by_name
async def test_a_coroutine_that_waits_without_await_is_refused(way):
    with pytest.raises(SynchronousOnlyOperation, match="would wait for the database without"):
        await in_task(way)
    await assert_all_back()
    assert (await Author.objects.acount(), await Book.objects.acount()) == (1, 2)


@by_name
async def test_it_is_refused_by_this_setting_alone(way):
    with override_settings(ONLOOP={}):
        if way in (ways.prefetch, ways.many_to_many, ways.autocommit):
            return  # not made to succeed
        await in_task(way)


@by_name
async def test_outside_a_bridge_it_is_refused_as_ever(way):
    if way in MAKE_A_BRIDGE:
        return
    with pytest.raises(SynchronousOnlyOperation):
        await way()


# --- what goes on -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", EXPLICIT, ids=lambda way: way.__name__)
async def test_what_is_awaited_goes_on(way):
    assert await in_task(way) == 2
    await assert_all_back()


@pytest.mark.parametrize("way", EXPLICIT, ids=lambda way: way.__name__)
async def test_what_is_awaited_goes_on_outside_a_bridge(way):
    assert await way() == 2


# --- tasks ------------------------------------------------------------------------------------


@pytest.fixture
async def eager():
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(eager_task)
    yield
    loop.set_task_factory(before)


async def test_eager_tasks_are_judged_alike(eager):
    async def main():
        refused = await asyncio.gather(lazy_relation(), get(), return_exceptions=True)
        return [type(exc) for exc in refused], await asyncio.gather(alist(), run_in_bridge())

    assert await in_task(main) == ([SynchronousOnlyOperation] * 2, [2, 2])


async def test_who_is_refused_does_not_hinder_the_others():
    async def main():
        return await asyncio.gather(*[get(), run_in_bridge()] * 5, return_exceptions=True)

    outcomes = await in_task(main)
    assert [type(outcome) for outcome in outcomes] == [SynchronousOnlyOperation, int] * 5
    await assert_all_back()


async def test_a_refusal_inside_a_block_leaves_the_block_whole():
    async def main():
        async with transaction.atomic():
            await Author.objects.acreate(name="New")
            for refused in (Author.objects.count, transaction.atomic().__enter__):
                with pytest.raises(SynchronousOnlyOperation):
                    refused()
            await Author.objects.acreate(name="Newest")

    await in_task(main)
    assert await Author.objects.acount() == 3


# --- threads and plain code -------------------------------------------------------------------


async def test_plain_code_and_threads_are_none_of_its_business():
    def plain():
        try:
            with transaction.atomic():
                return [book.author.name for book in Book.objects.all()]
        finally:
            connection.close()

    assert await asyncio.to_thread(plain) == ["Ann", "Ann"]


async def test_a_coroutine_that_plain_code_runs_is_judged_as_any():
    def plain(way):
        return asgiref.sync.async_to_sync(way)()

    assert await asyncio.to_thread(plain, alist) == 2
    with pytest.raises(SynchronousOnlyOperation, match="without an `await`"):
        await asyncio.to_thread(plain, get)


# --- what is said -----------------------------------------------------------------------------


async def test_the_error_names_place_and_cure():
    with pytest.raises(SynchronousOnlyOperation) as caught:
        await in_task(lazy_relation)
    said = str(caught.value)
    line = lazy_relation.__code__.co_firstlineno + 2
    assert f"lazy_relation() ({ways.__file__}:{line})" in said
    for cure in (
        'ONLOOP["IMPLICIT_IO"]', "await queryset.aget()", "await queryset.alist()",
        "select_related", "await onloop.bridge.run(function",
    ):  # fmt: skip
        assert cure in said


async def test_the_variable_that_turns_the_guard_off_is_respected(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    assert (await in_task(lazy_relation)).name == "Ann"
