"""What `FileSystemStorage` saves in a bridge is there whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage

from onloop import bridge
from onloop.files import AsyncStorage, threads
from onloop.files.strands import strand_of
from tests.files.content import Slow, files_in
from tests.files.saving import by_wrapper, uploaded
from tests.loops import steps, wait_for_thread


@pytest.mark.parametrize("overwrite", [False, True])
def test_content_that_fails_leaves_nothing(runner, root, asave, overwrite):
    content = Slow(error=OSError(errno.ENOSPC, "no space left"))
    content.go_on.set()
    with pytest.raises(OSError, match="no space left"):
        runner.run(asave(FileSystemStorage(root, allow_overwrite=overwrite), "a", content))
    assert files_in(root) == {}


def test_what_would_have_been_replaced_stays_if_the_content_fails(runner, root, asave):
    (root / "a").write_bytes(b"first")
    content = Slow(error=ZeroDivisionError())
    content.go_on.set()
    with pytest.raises(ZeroDivisionError):
        runner.run(asave(FileSystemStorage(root, allow_overwrite=True), "a", content))
    assert files_in(root) == {"a": b"first"}


class Strict(FileSystemStorage):
    """Fails when the file has its name already, as where permissions cannot be set."""

    def _ensure_location_group_id(self, full_path):
        assert Path(full_path).exists()
        raise PermissionError("not yours")


def test_a_file_that_could_not_be_given_its_permissions_is_taken_back(runner, root, asave):
    with pytest.raises(PermissionError, match="not yours"):
        runner.run(asave(Strict(root), "a", ContentFile(b"x")))
    assert files_in(root) == {}


def test_an_upload_that_could_not_be_saved_is_an_upload_still(runner, disk, root, asave):
    with uploaded() as file:
        with pytest.raises(PermissionError, match="not yours"):
            runner.run(asave(Strict(root), "a", file))
        assert files_in(root) == {}
        runner.run(asave(disk, "a", file))
    assert files_in(root) == {"a": b"uploaded"}


def test_an_upload_from_another_disk_leaves_nothing_either(runner, root, asave, uploads_in):
    uploads_in("/dev/shm")
    with uploaded() as file, pytest.raises(PermissionError, match="not yours"):
        runner.run(asave(Strict(root), "a", file))
    assert files_in(root) == {}


@pytest.mark.skipif(
    not hasattr(FileSystemStorage, "OS_OPEN_FLAGS"), reason="gone in Django 6.0"
)
def test_a_storage_that_opens_in_its_own_way_goes_on_to(runner, root, asave):
    class Overwriting(FileSystemStorage):
        OS_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

        def get_available_name(self, name, max_length=None):
            return name

    (root / "a").write_bytes(b"first")
    with pytest.warns(Warning, match="OS_OPEN_FLAGS"):
        storage = Overwriting(root)
    assert runner.run(asave(storage, "a", ContentFile(b"second"))) == "a"
    assert files_in(root) == {"a": b"second"}


@pytest.mark.parametrize("times", [1, 2])
def test_a_save_that_is_cancelled_leaves_nothing(runner, disk, root, asave, times):
    async def main():
        content = Slow()
        saving = asyncio.create_task(asave(disk, "a/b", content))
        await wait_for_thread(content.under_way)
        assert list(files_in(root)) != ["a/b"]  # it has its name when it is complete
        for _ in range(times):
            saving.cancel()
            await steps()
        content.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await saving

    runner.run(main())
    assert files_in(root) == {}


def test_a_save_that_is_cancelled_at_its_very_end_is_taken_back(runner, disk, root, asave):
    class Late(FileSystemStorage):
        """Waits when the file has its name already."""

        under_way, go_on = threading.Event(), threading.Event()

        def _ensure_location_group_id(self, full_path):
            self.under_way.set()
            assert self.go_on.wait(90)

    async def main():
        saving = asyncio.create_task(asave(Late(root), "a", ContentFile(b"x")))
        await wait_for_thread(Late.under_way)
        assert files_in(root) == {"a": b"x"}
        saving.cancel()
        await steps()
        Late.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await saving

    runner.run(main())
    assert files_in(root) == {}


def test_a_save_whose_thread_hangs_leaves_nothing_once_it_comes_back(
    runner, disk, root, monkeypatch
):
    monkeypatch.setattr(threads, "FINISH_S", 0)

    async def main():
        content = Slow()
        saving = asyncio.create_task(by_wrapper(disk, "a", content))
        await wait_for_thread(content.under_way)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        content.go_on.set()
        # In line behind it.
        await bridge.run(strand_of(content).call, lambda: None)

    runner.run(main())
    assert files_in(root) == {}


@pytest.mark.parametrize(
    "aopen",
    [lambda disk: AsyncStorage(disk).aopen("pipe"), lambda disk: bridge.run(disk.open, "pipe")],
    ids=["by_wrapper", "in_bridge"],
)
def test_an_open_that_is_cancelled_leaves_no_file_open(runner, disk, root, aopen):
    """The warning of a file that is left open would be an error here."""
    os.mkfifo(root / "pipe")

    async def main():
        opening = asyncio.create_task(aopen(disk))
        await steps(10)
        opening.cancel()
        await steps(10)
        # Opening to read lasts until somebody opens to write.
        await asyncio.get_running_loop().run_in_executor(None, touch, root / "pipe", opening)
        with pytest.raises(asyncio.CancelledError):
            await opening

    def touch(path, task):
        while not task.done():
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue  # nobody reads yet

    runner.run(main())


def test_names_that_leave_the_root_are_refused(runner, disk, root, tmp_path, asave):
    for name in ("../x", "a/../../x", "/etc/x", "..", ""):
        with pytest.raises(SuspiciousFileOperation):
            runner.run(by_wrapper(disk, name, ContentFile(b"x")))
    assert files_in(tmp_path) == {}


def test_files_of_any_size_are_streamed(runner, disk, root, tmp_path):
    """A hole of 8 GiB cannot have been in memory; it is cancelled after its first blocks."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(2**33)

    class Counted(File):
        count, enough = 0, threading.Event()

        def chunks(self, chunk_size=None):
            for chunk in super().chunks(chunk_size):
                assert len(chunk) <= 2**16
                self.count += 1
                if self.count == 10:
                    self.enough.set()
                yield chunk

    async def main():
        with big.open("rb") as file:
            saving = asyncio.create_task(by_wrapper(disk, "copy", Counted(file)))
            await wait_for_thread(Counted.enough)
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving

    runner.run(main())
    assert files_in(root) == {}
