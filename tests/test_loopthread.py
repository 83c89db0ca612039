"""A loop in a thread: begun once, ended in order, not a fork's, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import threading
from concurrent.futures import CancelledError

import pytest

from onloop import perloop
from onloop.loopthread import LoopOfProcess, LoopThread
from tests.fresh import python

NAME = "a loop of the tests"


@pytest.fixture
def of_process():
    made = LoopOfProcess(NAME)
    yield made
    made.end(timeout_s=20)
    assert threads() == []


def threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


async def the_loop():
    return asyncio.get_running_loop()


def test_threads_that_ask_at_once_get_one_loop(of_process):
    begin, found = threading.Barrier(8), []

    def ask():
        begin.wait(90)
        found.append(of_process.get().run(the_loop))

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(set(found)) == 1
    assert len(threads()) == 1


def test_what_runs_has_the_context_of_who_waits_and_what_is_called_has_none(of_process):
    language = contextvars.ContextVar("language", default="none")
    language.set("cy")
    seen, called = [], threading.Event()

    async def look():
        seen.append(language.get())

    def call():
        seen.append(language.get())
        called.set()

    of_process.get().run(look)
    of_process.get().call(call)
    assert called.wait(90)
    assert seen == ["cy", "none"]


def test_its_end_is_in_order():
    seen = []

    async def note(what):
        seen.append(what)

    async def close(thing):
        await note(f"{thing} closed")

    async def rolls_back():
        thing.get()
        waiting.set()
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            seen.append("cancelled")

    thing = perloop.PerLoop("a client", lambda: "client", close)
    waiting = threading.Event()

    @contextlib.asynccontextmanager
    async def around():
        seen.append("entered")
        yield
        seen.append("left")

    thread = LoopThread(NAME, around)
    tasks = []
    thread.call(lambda: tasks.append(thread.loop.create_task(rolls_back())))
    assert waiting.wait(90)
    thread.end(lambda: note("jobs"))
    assert seen == ["entered", "jobs", "cancelled", "left", "client closed"]
    assert thread.loop.is_closed()
    assert threads() == []


def test_who_waits_is_told_and_who_comes_later_is_refused():
    thread = LoopThread(NAME)
    told, waiting = [], threading.Event()

    async def for_ever():
        waiting.set()
        await asyncio.sleep(600)

    def ask():
        try:
            thread.run(for_ever)
        except CancelledError:
            told.append("cancelled")

    asking = threading.Thread(target=ask)
    asking.start()
    assert waiting.wait(90)
    thread.end()
    asking.join(20)
    assert told == ["cancelled"]
    assert not thread.is_alive
    for refused in (lambda: thread.run(the_loop), lambda: thread.call(print)):
        with pytest.raises(RuntimeError, match="a loop of the tests ends"):
            refused()


def test_what_is_handed_over_as_it_ends_is_answered_or_refused():
    """Whichever comes first: nobody waits for a loop that is gone."""
    for _ in range(30):
        thread = LoopThread(NAME)
        begin, told = threading.Barrier(5), []

        def ask(thread=thread, begin=begin, told=told):
            begin.wait(90)
            for _ in range(20):
                try:
                    told.append(thread.run(the_loop))
                except (CancelledError, RuntimeError) as exc:
                    told.append(exc)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for each in asking:
            each.start()
        begin.wait(90)
        thread.end()
        for each in asking:
            each.join(20)
        assert len(told) == 80


def test_it_ends_though_something_fails_and_the_next_call_starts_another(of_process, caplog):
    async def fail():
        raise ZeroDivisionError

    first = of_process.get()
    of_process.end(fail)
    assert first.loop.is_closed()
    assert "a loop of the tests broke" in caplog.text
    assert of_process.get() is not first


def test_an_end_that_takes_too_long_is_logged(caplog):
    go = threading.Event()
    thread = LoopThread(NAME)
    thread.call(go.wait)  # holds the loop
    thread.end(timeout_s=0.05)
    assert "did not end within 0.05 s: a task holds it" in caplog.text
    go.set()
    thread.end()
    assert threads() == []


def test_who_was_interrupted_while_it_ended_may_hurry_it():
    thread = LoopThread(NAME)
    going_on = asyncio.Event()

    async def jobs():
        await going_on.wait()

    async def cancel_jobs():
        going_on.set()

    thread.end(jobs, timeout_s=0.05)
    thread.end(cancel_jobs)
    assert thread.loop.is_closed()


def test_who_is_interrupted_while_it_starts_leaves_no_thread(caplog):
    """As by Ctrl-C, or by a soft time limit of Celery's."""
    seen, entering = [], threading.Event()

    @contextlib.asynccontextmanager
    async def around():
        entering.set()
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            seen.append("cancelled")
        yield

    main = threading.get_ident()

    def interrupt():
        entering.wait(90)
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        LoopThread(NAME, around)
    interrupting.join()
    for thread in threads():
        thread.join(20)
    assert (seen, threads(), caplog.text) == (["cancelled"], [], "")


def test_a_loop_that_cannot_be_made_is_an_error_and_not_a_wait(monkeypatch):
    class NoLoop(asyncio.Runner):
        def __enter__(self):
            raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "Runner", NoLoop)
        with pytest.raises(OSError, match="too many open files"):
            LoopThread(NAME)


def test_a_forked_child_makes_its_own_whoever_held_the_parents():
    told = python("""
        import os, threading
        from onloop.loopthread import LoopOfProcess

        async def pid():
            return os.getpid()

        of_process = LoopOfProcess("a loop")
        parent = of_process.get()
        with of_process._guard:  # as another thread of the parent might at that moment
            child = os.fork()
        if not child:
            assert of_process.made is None
            assert of_process.get().run(pid) == os.getpid()
            of_process.end()
            os._exit(0)
        print(os.waitpid(child, 0)[1], of_process.get() is parent)
    """)
    assert told == "0 True"
