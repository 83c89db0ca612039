"""`onloop.where()` and `is_async_context()` outside requests; those are in `asgi`."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync, sync_to_async

import onloop
from onloop import bridge
from tests.fresh import project, python
from tests.loops import eager_task


def answer():
    return onloop.where(), onloop.is_async_context()


async def aanswer():
    return answer()


def from_callback(loop):
    future = loop.create_future()
    loop.call_soon(lambda: future.set_result(answer()))
    return future


# --- on a loop --------------------------------------------------------------------------------


def test_a_bare_task_is_on_the_loop(runner):
    assert runner.run(aanswer()) == ("loop", True)


def test_code_that_a_bridge_runs_is_in_a_bridge(runner):
    assert runner.run(bridge.run(answer)) == ("bridge", True)


def test_code_that_onloops_adapter_runs_is_in_a_bridge(runner):
    assert runner.run(onloop.sync_to_async(answer)()) == ("bridge", True)


def test_an_async_function_that_is_awaited_in_a_bridge_is_in_it(runner):
    assert runner.run(bridge.run(bridge.await_, aanswer())) == ("bridge", True)


def test_a_callback_of_the_loop_is_in_no_bridge(runner):
    async def main():
        return await bridge.run(bridge.await_, from_callback(asyncio.get_running_loop()))

    assert runner.run(main()) == ("loop", True)


def test_tasks_made_in_a_scope_are_in_a_bridge_and_others_are_not(runner):
    async def main():
        outside = asyncio.create_task(aanswer())
        async with onloop.scope():
            inside = asyncio.create_task(aanswer())
            return await outside, answer(), await inside

    assert runner.run(main()) == (("loop", True), ("loop", True), ("bridge", True))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_the_first_step_of_an_eager_task_is_not_in_the_bridge_of_its_parent():
    def parent():
        child = asyncio.get_running_loop().create_task(aanswer())
        return bridge.await_(child)

    async def main():
        asyncio.get_running_loop().set_task_factory(eager_task)
        return await bridge.run(parent)

    assert asyncio.run(main()) == ("loop", True)


# --- in threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("thread_sensitive", [True, False])
def test_code_in_a_thread_of_asgiref_is_in_a_thread(runner, thread_sensitive):
    hop = sync_to_async(answer, thread_sensitive=thread_sensitive)
    assert runner.run(hop()) == ("thread", False)


def test_code_in_an_executor_that_asgiref_is_given_is_in_a_thread(runner):
    with ThreadPoolExecutor(1) as executor:
        hop = sync_to_async(answer, thread_sensitive=False, executor=executor)
        assert runner.run(hop()) == ("thread", False)


def test_to_thread_from_inside_a_scope_is_in_a_thread(runner):
    async def main():
        async with onloop.scope():
            return await asyncio.to_thread(answer)

    assert runner.run(main()) == ("thread", False)


def test_to_thread_from_a_bare_task_cannot_be_told_from_a_thread_of_ones_own(runner):
    """As documented: nothing in that thread tells who waits for it."""

    async def main():
        return await asyncio.to_thread(answer)

    assert runner.run(main()) == ("sync", False)


def test_threads_that_copy_no_context_are_plain(runner):
    found = []

    async def main():
        async with onloop.scope():
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(1) as executor:
                found.append(await loop.run_in_executor(executor, answer))
            thread = threading.Thread(target=lambda: found.append(answer()))
            thread.start()
            thread.join()

    runner.run(main())
    assert found == [("sync", False), ("sync", False)]


def test_a_loop_that_a_thread_runs_itself_is_a_loop(runner):
    hop = sync_to_async(lambda: asyncio.run(aanswer()))
    assert runner.run(hop()) == ("loop", True)


# --- in plain code ----------------------------------------------------------------------------


def test_plain_code_is_plain():
    assert answer() == ("sync", False)


def test_async_code_that_plain_code_calls_is_in_a_bridge():
    assert async_to_sync(aanswer)() == ("bridge", True)


def test_plain_code_is_plain_again_once_its_async_code_is_done():
    async def there_and_back():
        async with onloop.scope():
            return await sync_to_async(answer)(), threading.get_ident()

    back, _ = async_to_sync(there_and_back)()
    assert back == ("thread", False)  # asgiref runs it here, in the thread that waits
    assert answer() == ("sync", False)


def test_it_needs_no_settings():
    told = python("""
        import asyncio, onloop

        async def main():
            return onloop.where(), onloop.is_async_context()

        print(onloop.where(), onloop.is_async_context(), *asyncio.run(main()))
    """)
    assert told == "sync False loop True"


def test_a_command_is_plain_code():
    told = project("""
        import onloop
        from django.core.management import BaseCommand, call_command

        class Command(BaseCommand):
            requires_system_checks = []

            def handle(self, **options):
                self.stdout.write(onloop.where())

        call_command(Command())
    """)
    assert told == "sync"
