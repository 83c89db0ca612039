"""The watchdog by itself: code on any loop, in a task, a callback, a bridge or outside."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import logging
import os
import sys
import threading
import time

import pytest
from django.test import override_settings

from onloop import bridge, culprits, watchdog
from tests.stalls import STOPPED, only_of, without_stops

STALL_MS = 100
# How long something blocks that is to be named, however busy the machine is.
BLOCK_S = 0.6
DEADLINE_S = 90

pytestmark = pytest.mark.usefixtures("fresh_watchdog")


def nothing_known(frames):
    return "", ""


def serving():
    return watchdog.serving(nothing_known)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == watchdog.NAME]


def until(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


@pytest.fixture
def warnings(caplog):
    """The watchdog's lines, once its thread has ended."""
    caplog.set_level(logging.INFO, logger="onloop.watchdog")

    def lines(level=logging.WARNING):
        until(lambda: not threads(), "the end of the watchdog")
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == "onloop.watchdog" and record.levelno == level
        ]

    return lines


def blocks():
    time.sleep(BLOCK_S)


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


async def blocks_in_a_task():
    with serving():
        await asyncio.sleep(0)
        blocks()


async def blocks_in_a_bridge():
    with serving():
        await bridge.run(lambda: (bridge.await_(asyncio.sleep(0)), blocks()))


async def blocks_in_a_callback():
    called = asyncio.Event()
    with serving():
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_soon(lambda: (blocks(), called.set()))
        await called.wait()


@pytest.mark.parametrize(
    "code",
    [blocks_in_a_task, blocks_in_a_bridge, blocks_in_a_callback],
    ids=lambda f: f.__name__,
)
def test_what_blocks_is_named_with_its_line(runner, warnings, code):
    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        runner.run(code())
    line = only_of(
        warnings(), f"{__file__}:{line_of(blocks, 'sleep')}, in blocks, held the event"
    )
    assert "blocked in time.sleep(BLOCK_S)." in line
    assert "sync_to_async" in line
    counted = watchdog.stalls()
    assert counted.count >= 1
    assert counted.longest_ms > STALL_MS


def test_the_users_line_and_what_it_blocks_in_are_told_apart(warnings):
    async def waits():
        with serving():
            threading.Event().wait(BLOCK_S)

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        asyncio.run(waits())
    line = only_of(warnings(), f"{__file__}:{line_of(waits, 'Event')}, in")
    assert f"({threading.__file__}:" in line


def test_a_loop_that_waits_is_not_named(runner, warnings):
    async def waits():
        with serving():
            await asyncio.sleep(1.5)
            assert threads()

    with override_settings(ONLOOP={"STALL_MS": 1000}):
        runner.run(waits())
    assert without_stops(warnings()) == []


def test_many_short_steps_are_no_stall(runner, warnings):
    async def short():
        time.sleep(0.02)

    async def many():
        with serving():
            await asyncio.gather(*(short() for _ in range(60)))

    with override_settings(ONLOOP={"STALL_MS": 600}):
        runner.run(many())
    assert without_stops(warnings()) == []


def test_where_most_of_the_time_went_is_named_not_where_it_ended(warnings):
    async def code():
        with serving():
            blocks()
            time.sleep(BLOCK_S / 8)

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        asyncio.run(code())
    assert only_of(warnings(), ", in blocks, ")


def test_a_stall_that_lasts_is_one_line_while_it_lasts(monkeypatch, warnings):
    monkeypatch.setattr(watchdog, "LASTING_S", 0.3)
    said = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: said.set()
    watchdog.logger.addHandler(handler)

    async def code():
        with serving():
            assert said.wait(DEADLINE_S)
            blocks()

    try:
        with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
            asyncio.run(code())
    finally:
        watchdog.logger.removeHandler(handler)
    assert only_of(warnings(), " is holding the event loop ")
    assert "no longer holds" in warnings(logging.INFO)[-1]
    assert watchdog.stalls().longest_ms >= 1000 * BLOCK_S


def test_a_call_that_keeps_the_interpreters_lock_is_named(runner, warnings):
    usleep = ctypes.PyDLL(None).usleep  # keeps the lock, as a long regular expression does

    async def code():
        with serving():
            await asyncio.sleep(0.07)  # between two marks
            usleep(int(BLOCK_S * 1e6))

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        runner.run(code())
    assert STOPPED in only_of(warnings(), f"{__file__}:{line_of(code, 'usleep')}, in")


def test_an_import_has_a_cure_of_its_own(tmp_path, monkeypatch, warnings):
    (tmp_path / "slow_to_import.py").write_text(f"import time\ntime.sleep({BLOCK_S})\n")
    monkeypatch.syspath_prepend(tmp_path)

    async def code():
        with serving():
            import slow_to_import  # noqa: F401

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        asyncio.run(code())
    sys.modules.pop("slow_to_import", None)
    assert culprits.IMPORT_CURE in only_of(warnings(), "slow_to_import.py:2, in <module>")


def test_an_explanation_that_fails_costs_only_itself(warnings):
    def fails(frames):
        raise ZeroDivisionError("on purpose")

    async def code():
        with watchdog.serving(fails):
            blocks()

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        asyncio.run(code())
    assert only_of(warnings(), ", in blocks, ")


def test_a_watchdog_that_fails_raises_nothing_and_begins_anew(monkeypatch, caplog, warnings):
    def fails(watch, now):
        raise ZeroDivisionError("on purpose")

    async def code():
        with serving():
            await asyncio.sleep(0)
            while threads():  # its own failure ends it
                await asyncio.sleep(0.01)
        return "answered"

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        with monkeypatch.context() as patch:
            patch.setattr(watchdog.Watch, "look", fails)
            assert asyncio.run(code()) == "answered"
        assert "The watchdog failed" in caplog.text
        asyncio.run(blocks_in_a_task())
    assert only_of(warnings(), ", in blocks, ")


def test_switched_off_there_is_no_thread(warnings):
    async def code():
        with serving():
            blocks()
            assert threads() == []

    with override_settings(ONLOOP={"STALL_MS": 0}):
        asyncio.run(code())
    assert without_stops(warnings()) == []
    assert watchdog.stalls() == watchdog.Stalls()


def test_a_setting_that_is_wrong_is_not_the_watchdogs_to_raise():
    async def code():
        with serving():
            return "answered"

    with override_settings(ONLOOP={"STALL_MS": "soon"}):
        assert asyncio.run(code()) == "answered"


def test_the_thread_ends_with_a_loop_that_was_closed_under_it(runner):
    async def enters():
        serving().__enter__()  # and never leaves
        assert threads()

    runner.run(enters())
    runner.close()
    until(lambda: not threads(), "the end of the watchdog")


def test_the_thread_ends_with_a_loop_that_does_not_run_any_more(runner):
    async def enters():
        serving().__enter__()

    runner.run(enters())
    until(lambda: not threads(), "the end of the watchdog")
    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        runner.run(blocks_in_a_task())  # it runs again
    until(lambda: watchdog.stalls().count, "the stall")


def test_one_thread_watches_all_loops(warnings):
    both = threading.Barrier(2)
    seen = []

    async def one():
        with serving():
            await asyncio.to_thread(both.wait)
            seen.append(len(threads()))
            blocks()

    async def other():
        with serving():
            await asyncio.to_thread(both.wait)
            time.sleep(BLOCK_S)

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        loops = [threading.Thread(target=asyncio.run, args=(code(),)) for code in (one, other)]
        for loop in loops:
            loop.start()
        for loop in loops:
            loop.join()
        lines = warnings()
    assert seen == [1]
    for what in (", in blocks, ", f"in {other.__qualname__}, "):
        assert [what in line for line in lines].count(True) == 1, lines


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_has_a_watchdog_of_its_own():
    ends = threading.Event()

    async def watched():
        with serving():
            await asyncio.to_thread(ends.wait)

    with override_settings(ONLOOP={"STALL_MS": STALL_MS}):
        loop = threading.Thread(target=asyncio.run, args=(watched(),))
        loop.start()
        until(threads, "the watchdog")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(blocks_in_a_task())
                until(lambda: watchdog.stalls().count, "the child's stall")
                until(lambda: not threads(), "the end of the child's watchdog")
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert threads()
        ends.set()
        loop.join()
    assert os.waitstatus_to_exitcode(status) == 0
    last = watchdog.stalls().last
    assert last is None or last.function != "blocks"
