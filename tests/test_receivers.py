"""Receivers of a signal: async ones apart from each other, synchronous ones on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import django
import pytest
from django.dispatch import Signal, dispatcher

from onloop import bridge, rebind
from onloop.db import receivers
from tests.loops import steps
from tests.test_bridge import colour


@pytest.fixture
def signal():
    return Signal()


def connect_painters(signal, log):
    """Two async receivers that each set a context variable and look at it later."""

    async def first(**kwargs):
        colour.set("first")
        await steps()
        log.append(colour.get())
        return "first"

    async def second(**kwargs):
        await asyncio.sleep(0)
        colour.set("second")
        await steps()
        log.append(colour.get())
        return "second"

    signal.connect(first, weak=False)
    signal.connect(second, weak=False)


@pytest.mark.parametrize("method", ["asend", "asend_robust"])
def test_async_receivers_have_context_variables_as_in_django(runner, signal, method):
    """Since Django 6 they share them, with the sender too."""
    log = []
    connect_painters(signal, log)

    async def main():
        responses = await getattr(signal, method)(None)
        return [response for _, response in responses], colour.get()

    shared = django.VERSION >= (6, 0)
    assert runner.run(main()) == (["first", "second"], "second" if shared else "none")
    assert sorted(log) == (["second", "second"] if shared else ["first", "second"])


@pytest.mark.parametrize("method", ["send", "send_robust"])
def test_synchronous_sending_in_a_bridge_awaits_async_receivers_on_the_loop(
    runner, signal, method
):
    threads = []

    async def receiver(**kwargs):
        await asyncio.sleep(0)
        threads.append(threading.get_ident())

    signal.connect(receiver)
    runner.run(bridge.run(getattr(signal, method), None))
    assert threads == [threading.get_ident()]


def test_synchronous_receivers_run_on_the_loop_and_may_wait(runner, signal):
    def receiver(**kwargs):
        bridge.await_(asyncio.sleep(0))
        return threading.get_ident()

    signal.connect(receiver)
    [(_, thread)] = runner.run(signal.asend(None))
    assert thread == threading.get_ident()


def test_the_exception_of_one_async_receiver_comes_out_as_it_is(runner, signal):
    async def fails(**kwargs):
        raise LookupError

    async def works(**kwargs):
        await steps()

    signal.connect(works)
    signal.connect(fails)
    with pytest.raises(LookupError):
        runner.run(signal.asend(None))


async def fail(error):
    raise error


async def answer(number):
    await asyncio.sleep(0)
    return number


def test_run_parallel_gives_the_results_in_order(runner):
    assert runner.run(receivers.run_parallel(answer(1), answer(2))) == [1, 2]


def test_run_parallel_of_nothing_is_nothing(runner):
    assert runner.run(receivers.run_parallel()) == []


def test_run_parallel_raises_a_group_where_several_fail(bare_loop):
    with pytest.raises(ExceptionGroup) as caught:
        bare_loop.run_until_complete(
            receivers.run_parallel(fail(LookupError()), fail(KeyError()))
        )
    assert {type(exc) for exc in caught.value.exceptions} == {LookupError, KeyError}


def test_run_parallel_cancels_the_others_where_one_fails(bare_loop):
    log = []

    async def waits():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    with pytest.raises(LookupError):
        bare_loop.run_until_complete(receivers.run_parallel(waits(), fail(LookupError())))
    assert log == ["cancelled"]


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 has it")
def test_djangos_own_parallel_run_shares_one_context(bare_loop):
    """Why ours is bound: should Django change this, the binding can go."""
    name = contextvars.ContextVar("name", default="none")

    async def sets():
        name.set("set by another")

    async def reads():
        await steps()
        return name.get()

    original = rebind.original("django.dispatch.dispatcher", "_run_parallel")
    results = bare_loop.run_until_complete(original(sets(), reads()))
    assert results == [None, "set by another"]


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django 6.0 has one")
def test_before_django_6_there_is_no_parallel_run_to_bind():
    assert not hasattr(dispatcher, "_run_parallel")
