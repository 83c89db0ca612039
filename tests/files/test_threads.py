"""One call about a file at a time, in threads that outlive their tasks' patience."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from onloop import bridge
from onloop.files import threads
from onloop.files.threads import GivenUp, Job, Strand
from tests.loops import steps, until, wait_for_thread


class Call:
    """A call that is in its thread until it is told to go on."""

    def __init__(self, result=None):
        self.begun, self.may_end, self.ended = (threading.Event() for _ in range(3))
        self.result = result
        self.thread = None

    def __call__(self):
        self.thread = threading.get_ident()
        self.begun.set()
        assert self.may_end.wait(90)
        self.ended.set()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def begun(strand, call, **kwargs):
    """A task that waits for `call`, which is in its thread."""
    task = asyncio.create_task(bridge.run(strand.call, call, **kwargs))
    await wait_for_thread(call.begun)
    return task


def test_a_call_runs_in_a_thread_while_the_loop_goes_on(runner):
    async def main():
        call = Call("result")
        task = await begun(Strand(), call)
        assert call.thread != threading.get_ident()
        call.may_end.set()
        assert await task == "result"

    runner.run(main())


def test_outside_of_a_bridge_a_call_runs_right_there():
    assert Strand().call(threading.get_ident) == threading.get_ident()


def test_what_a_call_raises_is_raised(runner):
    with pytest.raises(ZeroDivisionError):
        runner.run(bridge.run(Strand().call, lambda: 1 / 0))


def test_a_call_has_the_context_of_its_caller(runner):
    from contextvars import ContextVar

    variable = ContextVar("variable")

    async def main():
        variable.set("here")
        return await bridge.run(Strand().call, variable.get)

    assert runner.run(main()) == "here"


def test_calls_of_one_strand_come_one_after_the_other_in_their_order(runner):
    async def main():
        strand, first, order = Strand(), Call(), []
        task = await begun(strand, first)
        others = [
            asyncio.create_task(bridge.run(strand.call, lambda n=n: order.append(n)))
            for n in range(5)
        ]
        await steps()
        assert order == []
        first.may_end.set()
        await asyncio.gather(task, *others)
        assert order == [0, 1, 2, 3, 4]

    runner.run(main())


def test_calls_of_two_strands_are_at_work_together(runner):
    async def main():
        first, second = Call(), Call()
        tasks = [await begun(Strand(), first), await begun(Strand(), second)]
        first.may_end.set()
        second.may_end.set()
        await asyncio.gather(*tasks)

    runner.run(main())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_cancelled_task_goes_on_when_its_thread_has_ended(runner, times):
    async def main():
        call = Call()
        task = await begun(Strand(), call)
        for _ in range(times):
            task.cancel()
            await steps()
            assert not task.done()
        call.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.ended.is_set()

    runner.run(main())


def test_a_cancelled_task_does_not_wait_for_a_call_that_has_not_begun(runner):
    async def main():
        strand, first, made = Strand(), Call(), []
        task = await begun(strand, first)
        second = asyncio.create_task(bridge.run(strand.call, lambda: made.append(2)))
        await steps()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        first.may_end.set()
        await task
        await bridge.run(strand.call, lambda: None)
        assert made == []

    runner.run(main())


def test_a_thread_that_hangs_holds_a_cancelled_task_for_a_bounded_time(runner, monkeypatch):
    monkeypatch.setattr(threads, "FINISH_S", 0)

    async def main():
        strand, call = Strand(), Call()
        task = await begun(strand, call)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not call.ended.is_set()
        # The next one waits in line behind it.
        after = asyncio.create_task(bridge.run(strand.call, call.ended.is_set))
        await steps()
        assert not after.done()
        call.may_end.set()
        assert await after

    runner.run(main())


@pytest.mark.parametrize("finish_s", [0, 20], ids=["hangs", "ends"])
def test_what_nobody_waits_for_any_more_is_undone(runner, monkeypatch, finish_s):
    monkeypatch.setattr(threads, "FINISH_S", finish_s)

    async def main():
        call, undone = Call("file"), []
        strand = Strand()
        task = await begun(strand, call, undo=undone.append)
        task.cancel()
        await steps()
        call.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bridge.run(strand.call, lambda: None)
        assert undone == ["file"]

    runner.run(main())


def test_what_is_there_when_the_cancellation_comes_is_undone(runner):
    async def main():
        call, undone, strand = Call("file"), [], Strand()
        task = await begun(strand, call, undo=undone.append)
        call.may_end.set()
        # The loop is held until the thread has come to its end; the task cannot see the result.
        while strand.busy:
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert undone == ["file"]

    runner.run(main())


def test_a_result_that_was_fetched_is_not_undone(runner):
    undone = []
    runner.run(bridge.run(Strand().call, lambda: "file", undo=undone.append))
    assert undone == []


def test_a_long_call_is_told_that_nobody_waits(runner):
    async def main():
        call, told = Call(), threading.Event()

        def long():
            call()
            try:
                threads.go_on()
            except GivenUp:
                told.set()
                raise

        task = asyncio.create_task(bridge.run(Strand().call, long))
        await wait_for_thread(call.begun)
        task.cancel()
        await steps()
        call.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told.is_set()

    runner.run(main())


@pytest.mark.parametrize("times", [0, 1, 2])
def test_closing_comes_after_what_is_at_work_and_cannot_be_cancelled_away(runner, times):
    async def main():
        strand, call, seen = Strand(), Call(), []
        task = await begun(strand, call)
        closing = asyncio.create_task(
            bridge.run(strand.finish, lambda: seen.append(call.ended.is_set()))
        )
        await steps()
        for _ in range(times):
            closing.cancel()
            await steps()
        assert seen == []
        call.may_end.set()
        await task
        await asyncio.wait([closing])
        assert closing.cancelled() is bool(times)
        assert seen == [True]

    runner.run(main())


def test_a_close_that_hangs_is_waited_for_a_bounded_time_and_happens(
    runner, monkeypatch, caplog
):
    monkeypatch.setattr(threads, "FINISH_S", 0)

    async def main():
        strand, call, closed = Strand(), Call(), threading.Event()
        task = await begun(strand, call)
        await bridge.run(strand.finish, closed.set)
        assert not closed.is_set()
        assert "closed later" in caplog.text
        call.may_end.set()
        await task
        await wait_for_thread(closed)

    runner.run(main())


def test_closing_on_the_loop_outside_of_a_bridge_waits_in_line_too(runner):
    async def main():
        strand, call, closed = Strand(), Call(), threading.Event()
        task = await begun(strand, call)
        strand.finish(closed.set)
        assert not closed.is_set()
        call.may_end.set()
        await task
        await wait_for_thread(closed)

    runner.run(main())


def test_closing_in_plain_code_is_done_right_there():
    closed = []
    Strand().finish(lambda: closed.append(threading.get_ident()))
    assert closed == [threading.get_ident()]


def test_a_coroutine_that_is_closed_leaves_its_call_to_the_thread(bare_loop):
    call, undone = Call("file"), threading.Event()
    coroutine = bridge.run(Strand().call, call, undo=lambda _: undone.set())

    async def main():
        coroutine.send(None)  # as a task would begin it
        await wait_for_thread(call.begun)
        coroutine.close()

    bare_loop.run_until_complete(main())
    call.may_end.set()
    assert undone.wait(90)


def test_many_calls_share_few_threads(runner):
    async def main():
        names = await asyncio.gather(
            *(
                bridge.run(Strand().call, lambda: threading.current_thread().name)
                for _ in range(100)
            )
        )
        assert len(set(names)) <= threads.WORKERS["disk"]
        assert all(name.startswith("onloop-files-disk") for name in names)

    runner.run(main())


def test_a_call_that_is_over_keeps_nothing(runner):
    class Thing:
        pass

    async def main():
        thing = Thing()
        ref = weakref.ref(thing)
        strand = Strand()
        await bridge.run(strand.call, lambda thing=thing: None)
        del thing
        await until(lambda: not strand.busy)
        gc.collect()
        assert ref() is None

    runner.run(main())


def test_a_job_says_when_the_time_is_over(runner):
    async def main():
        call = Call()
        job = await bridge.run(lambda: Strand().put(Job(call)))
        with pytest.raises(TimeoutError):
            await bridge.run(job.wait, 0)
        call.may_end.set()

    runner.run(main())
