"""Django's async guard: it lets bridges through, and nothing else."""

from __future__ import annotations

import asyncio
import os

import greenlet
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.asyncio import async_unsafe

from onloop import bridge
from onloop.guard import lifted
from tests.fresh import project
from tests.loops import EAGER
from tests.project.library.models import Author


@async_unsafe("Django's own message")
def guarded():
    return "passed"


# --- the guard alone ------------------------------------------------------------------------


def test_in_a_bridge_it_lets_through(runner):
    assert runner.run(bridge.run(guarded)) == "passed"


def test_in_a_coroutine_inside_a_bridge_it_lets_through(runner):
    async def coroutine():
        await asyncio.sleep(0)
        return guarded()

    assert runner.run(bridge.run(bridge.await_, coroutine())) == "passed"


def test_in_a_plain_thread_it_lets_through():
    assert guarded() == "passed"


def test_on_a_loop_outside_a_bridge_it_refuses_with_the_cure(runner):
    async def main():
        guarded()

    with pytest.raises(SynchronousOnlyOperation, match=r"await onloop\.bridge\.run\(function"):
        runner.run(main())


def test_in_a_callback_while_a_bridge_waits_it_refuses(runner):
    def function():
        refused = asyncio.get_running_loop().create_future()

        def callback():
            try:
                guarded()
            except SynchronousOnlyOperation as exc:
                refused.set_result(type(exc))

        asyncio.get_running_loop().call_soon(callback)
        return bridge.await_(refused)

    assert runner.run(bridge.run(function)) is SynchronousOnlyOperation


async def refusal():
    try:
        guarded()
    except SynchronousOnlyOperation as exc:
        return type(exc)
    return "passed"


@pytest.mark.parametrize("runner", EAGER, indirect=True)
def test_in_the_first_step_of_an_eager_child_it_refuses(runner):
    """That step runs inside the parent's greenlet, but it is not the parent's task."""

    def parent():
        return bridge.await_(asyncio.create_task(refusal()))

    assert runner.run(bridge.run(parent)) is SynchronousOnlyOperation


@pytest.mark.parametrize("runner", EAGER, indirect=True)
def test_in_the_first_step_of_a_bridged_eager_child_it_lets_through(bridged):
    async def child():
        return guarded()

    def parent():
        return bridge.await_(asyncio.create_task(child()))

    assert bridged(bridge.run(parent)) == "passed"


def test_in_a_child_of_a_bridge_that_has_none_of_its_own_it_refuses(runner):
    def parent():
        return bridge.await_(asyncio.create_task(refusal()))

    assert runner.run(bridge.run(parent)) is SynchronousOnlyOperation


def test_in_a_foreign_greenlet_inside_a_bridge_it_refuses(runner):
    """Nobody drives that one: what it waited for would never arrive."""

    refused = []

    def inner():
        with pytest.raises(SynchronousOnlyOperation) as caught:
            guarded()
        refused.append(caught.type)

    runner.run(bridge.run(lambda: greenlet.greenlet(inner).switch()))
    assert refused == [SynchronousOnlyOperation]


def test_in_a_thread_that_a_bridge_has_started_it_lets_through(runner):
    def function():
        return bridge.await_(asyncio.to_thread(guarded))

    assert runner.run(bridge.run(function)) == "passed"


def test_after_a_bridge_has_ended_it_refuses_again(runner):
    async def main():
        await bridge.run(guarded)
        return await refusal()

    assert runner.run(main()) is SynchronousOnlyOperation


def test_where_it_is_lifted_it_lets_through_and_refuses_again_afterwards(runner):
    """For the end of a scope, which closes what is not ours and never waits."""

    async def main():
        with lifted():
            passed = guarded()
        return passed, await refusal()

    assert runner.run(main()) == ("passed", SynchronousOnlyOperation)


def test_the_variable_that_turns_it_off_is_respected(runner, monkeypatch):
    async def main():
        return guarded()

    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    assert runner.run(main()) == "passed"


def test_the_variable_is_never_set_by_us():
    said = project("""
        import asyncio, os
        from django.db import connection
        import onloop
        from onloop import bridge

        def query():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

        async def main():
            async with onloop.scope():
                await bridge.run(query)

        asyncio.run(main())
        print("DJANGO_ALLOW_ASYNC_UNSAFE" in os.environ)
    """)
    assert said == "False"
    assert "DJANGO_ALLOW_ASYNC_UNSAFE" not in os.environ


# --- with a database ------------------------------------------------------------------------


async def test_queries_pass_in_a_bridge(db_clean):
    await bridge.run(Author.objects.create, name="Ursula")
    assert await bridge.run(Author.objects.count) == 1


async def test_queries_outside_a_bridge_are_refused_with_the_cure(db_clean):
    with pytest.raises(SynchronousOnlyOperation, match=r"`await queryset\.aget\(\)`"):
        Author.objects.count()


async def test_the_async_methods_pass_outside_a_bridge(db_clean):
    await Author.objects.acreate(name="Ursula")
    assert await Author.objects.acount() == 1


def test_queries_pass_in_a_plain_thread(db_clean):
    assert Author.objects.count() == 0
