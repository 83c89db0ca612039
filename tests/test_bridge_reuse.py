"""Greenlets are used again: what one run leaves must not be found by the next."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import Any

import pytest
from greenlet import getcurrent

from onloop import bridge
from onloop.bridge import KEPT_BRIDGES, _idle
from onloop.errors import BridgeRequired
from tests.loops import steps

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Thing:
    """Something whose life can be watched."""


async def test_a_greenlet_is_used_again() -> None:
    first = await bridge.run(getcurrent)
    assert await bridge.run(getcurrent) is first


async def test_greenlets_that_run_at_the_same_time_are_different() -> None:
    def work() -> Any:
        bridge.await_(steps())
        return getcurrent()

    found = await asyncio.gather(*(bridge.run(work) for _ in range(10)))
    assert len(set(found)) == 10


async def test_a_greenlet_that_failed_is_used_again() -> None:
    def fail() -> None:
        seen.append(getcurrent())
        raise ZeroDivisionError

    seen: list[Any] = []
    with pytest.raises(ZeroDivisionError) as caught:
        await bridge.run(fail)
    assert await bridge.run(getcurrent) is seen[0]
    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "fail"
    assert "_work" not in names


async def test_nothing_of_a_run_is_kept() -> None:
    thing, result = Thing(), Thing()
    gone = [weakref.ref(thing), weakref.ref(result)]

    def work(given: Thing, *, returned: Thing) -> Thing:
        variable.set("of a run")
        local = given  # noqa: F841 - a local variable of the run
        return returned

    async def call() -> None:
        nonlocal thing, result
        await bridge.run(work, thing, returned=result)
        del thing, result

    await asyncio.create_task(call())
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


async def test_nothing_of_a_run_that_failed_is_kept() -> None:
    gone = []

    def fail() -> None:
        thing = Thing()
        gone.append(weakref.ref(thing))
        raise ZeroDivisionError

    async def call() -> None:
        with pytest.raises(ZeroDivisionError):
            await bridge.run(fail)

    await asyncio.create_task(call())
    gc.collect()
    assert gone[0]() is None


async def test_the_context_of_a_run_is_the_callers() -> None:
    async def call(value: str) -> str:
        variable.set(value)
        await bridge.run(steps_in_bridge)
        return await bridge.run(variable.get)

    def steps_in_bridge() -> None:
        bridge.await_(steps())

    assert await asyncio.gather(*(call(str(n)) for n in range(5))) == list("01234")
    assert await bridge.run(variable.get) == "unset"
    assert await asyncio.create_task(call("again")) == "again"


async def test_no_exception_is_being_handled_in_the_next_run() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bridge.run(fail)
    assert await bridge.run(sys.exception) is None


async def test_a_coroutine_that_is_closed_leaves_its_greenlet_to_nobody() -> None:
    def work() -> None:
        seen.append(getcurrent())
        bridge.await_(asyncio.Event().wait())

    seen: list[Any] = []
    task = asyncio.create_task(bridge.run(work))
    await steps()
    coro = task.get_coro()
    assert coro is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stepped = bridge.run(work)
    stepped.send(None)
    stepped.close()
    assert seen[1].finished
    assert seen[1] not in _idle.bridges


async def test_a_bounded_number_is_kept() -> None:
    def work() -> None:
        bridge.await_(steps())

    await asyncio.gather(*(bridge.run(work) for _ in range(KEPT_BRIDGES + 20)))
    assert len(_idle.bridges) == KEPT_BRIDGES


async def test_a_greenlet_that_is_kept_is_in_no_cycle() -> None:
    """It would never be collected: 6 KB each, when a thread ends."""
    await bridge.run(lambda: bridge.await_(steps()))
    kept = weakref.ref(_idle.bridges[-1])
    _idle.bridges.clear()
    assert kept() is None


def test_each_thread_keeps_its_own() -> None:
    found: list[Any] = []

    def work() -> None:
        asyncio.run(bridge.run(lambda: found.append(getcurrent())))
        found.append(list(_idle.bridges))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    used = found[::2]
    assert len(set(used)) == 3
    assert found[1::2] == [[one] for one in used]


def test_threads_and_processes_end_with_greenlets_that_are_kept() -> None:
    code = """
        import asyncio, gc, threading
        from onloop import bridge

        def work():
            bridge.await_(asyncio.sleep(0))

        async def main():
            await asyncio.gather(*(bridge.run(work) for _ in range(100)))

        for _ in range(50):
            threads = [threading.Thread(target=asyncio.run, args=[main()]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gc.collect()
        asyncio.run(main())
        print("well")
    """
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "well\n"), ended.stderr
    assert not ended.stderr


def test_what_runs_in_a_bridge_that_has_no_task_is_in_no_active_one() -> None:
    """A finaliser, in one that is thrown away."""
    seen: list[object] = []

    def finalise() -> None:
        seen.append(bridge.active())
        seen.append(bridge.current())
        with pytest.raises(BridgeRequired):
            bridge.await_(asyncio.sleep(0))

    bridge.Bridge(finalise).switch()
    assert seen == [False, None]
