"""The leak ledger, for what a process holds: everything planted is named, nothing else is."""

import asyncio
import concurrent.futures
import gc
import os
import re
import socket
import tempfile
import threading

import asgiref.sync
import pytest
import uvloop
from django.utils.functional import SimpleLazyObject
from greenlet import getcurrent

from onloop import bridge
from onloop.testing import Leaked, LeakLedger

# What is planted does not go, so that there is nothing to wait for.
AT_ONCE = 0.0


@pytest.fixture
def ledger(tmp_path):
    return LeakLedger(timeout_s=AT_ONCE, temp_folder=tmp_path)


def kinds(caught):
    return [leak.kind for leak in caught.value.leaks]


# --- planted ----------------------------------------------------------------------------------


async def test_a_task_that_goes_on_is_named_with_its_stack(ledger):
    async def forgotten():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Leaked, match="'left behind' is not done; it waits in") as caught:
        async with ledger:
            task = asyncio.create_task(forgotten(), name="left behind")
            await asyncio.sleep(0)
    assert kinds(caught) == ["task"]
    assert "in forgotten" in str(caught.value)
    task.cancel()


async def test_a_task_that_waits_in_a_bridge_is_named_with_the_stack_of_the_bridge(ledger):
    def forgotten():
        bridge.await_(asyncio.get_running_loop().create_future())

    with pytest.raises(Leaked, match="in forgotten") as caught:
        async with ledger:
            task = asyncio.create_task(bridge.run(forgotten))
            await asyncio.sleep(0)
    assert kinds(caught) == ["task"]
    task.cancel()


def test_a_task_of_a_loop_that_was_closed_is_named(ledger):
    loop = asyncio.new_event_loop()
    with pytest.raises(Leaked, match="its loop is closed") as caught, ledger:
        task = loop.create_task(asyncio.sleep(60))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert kinds(caught) == ["task"]
    task._log_destroy_pending = False  # it is destroyed on purpose


def test_a_thread_is_named_with_what_it_runs(ledger):
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait, name="left behind")
    with pytest.raises(Leaked, match=r"'left behind' \(Event.wait\) runs in") as caught, ledger:
        thread.start()
    assert kinds(caught) == ["thread"]
    go_on.set()
    thread.join()


def test_the_idle_worker_of_a_forgotten_executor_is_named(ledger):
    with pytest.raises(Leaked, match="'forgotten_0'") as caught, ledger:
        executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="forgotten")
        executor.submit(int).result()
    assert kinds(caught) == ["thread"]
    executor.shutdown()


async def test_a_busy_worker_of_the_loop_s_executor_is_named(ledger):
    go_on, busy = threading.Event(), threading.Event()

    def work():
        busy.set()
        go_on.wait()

    with pytest.raises(Leaked, match="in work") as caught:
        async with ledger:
            future = asyncio.get_running_loop().run_in_executor(None, work)
            while not busy.is_set():
                await asyncio.sleep(0)
    assert kinds(caught) == ["thread"]
    go_on.set()
    await future


def test_a_file_descriptor_is_named_with_what_it_points_at(ledger, tmp_path):
    with pytest.raises(Leaked, match=r"is open: .*/kept$") as caught, ledger:
        kept = (tmp_path / "kept").open("w")
    assert kinds(caught) == ["descriptor"]
    kept.close()


def test_a_socket_is_named_with_its_addresses(ledger):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "{}:{}".format(*listener.getsockname())
        with pytest.raises(Leaked, match=rf"socket:\[\d+\] .* -> {address}") as caught, ledger:
            kept = socket.create_connection(listener.getsockname())
        assert kinds(caught) == ["descriptor"]
        kept.close()


def test_a_descriptor_that_took_the_number_of_another_is_named(ledger, tmp_path):
    number = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(Leaked, match=rf"{number} is open: /dev/null") as caught, ledger:
        os.close(number)
        assert os.open("/dev/null", os.O_RDONLY) == number
    assert kinds(caught) == ["descriptor"]
    os.close(number)


def test_temporary_files_and_folders_are_named(ledger, tmp_path):
    with pytest.raises(Leaked) as caught, ledger:
        tempfile.mkdtemp(dir=tmp_path)
        number, _ = tempfile.mkstemp(dir=tmp_path)
        os.close(number)
        (tmp_path / "of somebody else").touch()
    assert kinds(caught) == ["file", "file"]
    assert re.search(r"temporary file .*/tmp\w+", str(caught.value))
    assert re.search(r"temporary folder .*/tmp\w+", str(caught.value))


def test_a_spooled_file_on_disk_is_named_and_one_in_memory_is_not(ledger):
    lazy = SimpleLazyObject(lambda: 1 / 0)  # is not asked what it stands for
    with (
        tempfile.SpooledTemporaryFile(max_size=10) as on_disk,
        tempfile.SpooledTemporaryFile(max_size=10) as in_memory,
    ):
        rolled = "SpooledTemporaryFile that has rolled"
        with pytest.raises(Leaked, match=rolled) as caught, ledger:
            on_disk.write(b"more than ten bytes")
            in_memory.write(b"few bytes")
        assert kinds(caught) == ["descriptor"]
    assert type(lazy) is SimpleLazyObject


async def test_a_bridge_that_nobody_drives_is_named(ledger):
    def suspended():
        getcurrent().parent.switch()

    with pytest.raises(Leaked, match="in suspended") as caught:
        async with ledger:
            task = asyncio.create_task(asyncio.sleep(0), name="its task")
            await task
            left = bridge.Bridge(suspended)
            left.task = task
            left.switch()
    assert kinds(caught) == ["bridge"]
    assert "'its task', which has ended" in str(caught.value)
    left.switch()


# --- not planted ------------------------------------------------------------------------------


async def test_clean_code_is_not_complained_about(tmp_path):
    def in_a_bridge():
        bridge.await_(asyncio.sleep(0))

    async with LeakLedger(temp_folder=tmp_path):
        await asyncio.gather(*(bridge.run(in_a_bridge) for _ in range(5)))
        # Idle workers belong to the loop and to asgiref.
        await asyncio.to_thread(int)
        await asgiref.sync.sync_to_async(int)()
        with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
            file.write(b"x")
        with pytest.raises(asyncio.CancelledError):
            task = asyncio.create_task(bridge.run(in_a_bridge))
            await asyncio.sleep(0)
            task.cancel()
            await task


async def test_what_goes_by_itself_is_waited_for(tmp_path):
    thread = threading.Thread(target=asyncio.run, args=[asyncio.sleep(0.1)])
    async with LeakLedger(temp_folder=tmp_path):
        thread.start()
        task = asyncio.create_task(asyncio.sleep(0.1))
    assert task.done()
    assert not thread.is_alive()


def test_what_only_the_garbage_collector_can_free_is_no_leak(tmp_path):
    class Cycle:
        def __init__(self, file):
            self.me = self
            self.file = file

    gc.disable()
    try:
        with LeakLedger(temp_folder=tmp_path):
            read, write = os.pipe()
            Cycle(_Closing(read))
            os.close(write)
    finally:
        gc.enable()


class _Closing:
    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.close(self.number)


async def test_what_was_there_before_is_no_leak(tmp_path):
    async with asyncio.timeout(90):
        task = asyncio.create_task(asyncio.sleep(20))
        file = (tmp_path / "tmp-before").open("w")
        await asyncio.sleep(0)
        async with LeakLedger(temp_folder=tmp_path):
            pass
    task.cancel()
    file.close()


def test_a_block_that_fails_shows_its_own_error(ledger):
    with pytest.raises(LookupError), ledger:
        read, write = os.pipe()
        raise LookupError
    os.close(read)
    os.close(write)


async def test_a_check_during_a_run_compares_with_the_start(ledger):
    ledger.start()
    assert ledger.leaks() == []
    task = asyncio.create_task(asyncio.sleep(60))
    assert [leak.kind for leak in ledger.leaks()] == ["task"]
    task.cancel()
    while not task.done():
        await asyncio.sleep(0)
    await ledger.averify()


def test_a_ledger_that_was_not_started_says_so():
    with pytest.raises(RuntimeError, match=r"call start\(\)"):
        LeakLedger().verify()


def test_the_spare_descriptor_of_uvloop_is_no_leak():
    async def speak():
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()

    async def main():
        async with LeakLedger():
            await speak()
        opened = []
        with pytest.raises(Leaked, match="/dev/null"):
            async with LeakLedger(timeout_s=AT_ONCE):
                opened += [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        for number in opened:
            os.close(number)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
