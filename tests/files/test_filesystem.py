"""`FileSystemStorage` in a bridge: Django's rules, in a thread."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage

from onloop import bridge
from onloop.files import threads
from tests.files.content import Slow, files_in
from tests.files.saving import by_wrapper, uploaded
from tests.loops import steps, wait_for_thread

# --- what is saved --------------------------------------------------------------------------


def test_content_is_saved_in_a_new_folder(runner, disk, root, asave):
    name = runner.run(asave(disk, "a/b/c.txt", ContentFile(b"content")))
    assert (name, files_in(root)) == ("a/b/c.txt", {"a/b/c.txt": b"content"})


@pytest.mark.parametrize("make", [lambda: ContentFile(""), lambda: ContentFile(b"")])
def test_content_without_anything_in_it_is_a_file_too(runner, disk, root, asave, make):
    runner.run(asave(disk, "empty", make()))
    assert files_in(root) == {"empty": b""}


def test_text_is_saved_as_django_saves_it(runner, disk, root, asave):
    runner.run(asave(disk, "text", ContentFile("äöü\n")))
    assert files_in(root) == {"text": "äöü\n".encode()}


def test_an_upload_on_the_disk_is_moved(runner, disk, root, asave):
    with uploaded() as file:
        where = Path(file.temporary_file_path())
        inode = where.stat().st_ino
        runner.run(asave(disk, "moved", file))
        assert (root / "moved").stat().st_ino == inode
        assert not where.exists()
    assert files_in(root) == {"moved": b"uploaded"}


def test_an_upload_on_another_disk_is_copied(runner, disk, root, asave, uploads_in):
    uploads_in("/dev/shm")
    with uploaded() as file:
        where = Path(file.temporary_file_path())
        runner.run(asave(disk, "copied", file))
        assert not where.exists()
    assert files_in(root) == {"copied": b"uploaded"}


def test_a_name_that_is_taken_is_changed(runner, disk, root):
    (root / "a.txt").write_bytes(b"first")
    name = runner.run(by_wrapper(disk, "a.txt", ContentFile(b"second")))
    assert name.startswith("a_")
    assert files_in(root) == {"a.txt": b"first", name: b"second"}


def test_a_broken_link_takes_its_name(runner, disk, root, asave):
    (root / "a").symlink_to(root / "nowhere")
    name = runner.run(asave(disk, "a", ContentFile(b"new")))
    assert name != "a"
    assert (root / "a").is_symlink()


@pytest.mark.parametrize("make", [ContentFile, uploaded], ids=["streamed", "moved"])
def test_tasks_that_save_under_one_name_at_once_lose_nothing(runner, disk, root, make):
    """Django looks for a free name and takes it later; `_save` finds another one then."""

    async def main():
        files = [make(str(number).encode()) for number in range(20)]
        names = await asyncio.gather(*(by_wrapper(disk, "a.txt", file) for file in files))
        for file in files:
            file.close()
        assert len(set(names)) == 20

    runner.run(main())
    assert sorted(files_in(root).values()) == sorted(str(n).encode() for n in range(20))


def test_where_overwriting_is_wanted_the_file_is_replaced(runner, root, asave):
    (root / "a").write_bytes(b"first")
    storage = FileSystemStorage(root, allow_overwrite=True)
    assert runner.run(asave(storage, "a", ContentFile(b"second"))) == "a"
    with uploaded() as file:
        assert files_in(root) == {"a": b"second"}
        assert runner.run(asave(storage, "a", file)) == "a"
    assert files_in(root) == {"a": b"uploaded"}


@pytest.mark.parametrize(
    "make", [lambda: ContentFile(b"x"), uploaded], ids=["streamed", "moved"]
)
def test_permissions_are_as_django_sets_them(runner, root, tmp_path, make):
    modes = []
    for number, way in enumerate([by_wrapper, None]):
        folder = tmp_path / str(number)
        folder.mkdir()
        storage = FileSystemStorage(
            folder, file_permissions_mode=0o640, directory_permissions_mode=0o750
        )
        with make() as content:
            if way is None:
                storage.save("a/b/c", content)
            else:
                runner.run(way(storage, "a/b/c", content))
        paths = [folder / name for name in ("a", "a/b", "a/b/c")]
        modes.append([stat.S_IMODE(path.stat().st_mode) for path in paths])
    assert modes[0] == modes[1] == [0o750, 0o750, 0o640]


def test_without_a_setting_the_umask_decides(runner, root):
    storage = FileSystemStorage(root)
    before = os.umask(0o027)
    try:
        runner.run(by_wrapper(storage, "a", ContentFile(b"x")))
        storage.save("b", ContentFile(b"x"))
    finally:
        os.umask(before)
    assert (root / "a").stat().st_mode == (root / "b").stat().st_mode


def test_a_folder_that_is_a_file_is_named(runner, disk, root, asave):
    (root / "a").write_bytes(b"a file")
    with pytest.raises((FileExistsError, NotADirectoryError)):
        runner.run(asave(disk, "a/b", ContentFile(b"x")))
    assert files_in(root) == {"a": b"a file"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_system_without_hard_links_does_as_well(runner, disk, root, number, monkeypatch):
    def hardlink_to(self, target):
        raise OSError(number, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    names = runner.run(save_many(disk))
    assert len(set(names)) == 30
    assert sorted(files_in(root).values()) == sorted(str(n).encode() for n in range(30))


async def save_many(disk):
    return await asyncio.gather(
        *(by_wrapper(disk, "a.txt", ContentFile(str(n).encode())) for n in range(30))
    )


# --- where it is saved ----------------------------------------------------------------------


def test_the_content_is_read_and_written_in_a_thread(runner, disk, asave):
    async def main():
        content = Slow()
        saving = asyncio.create_task(asave(disk, "a", content))
        await wait_for_thread(content.under_way)  # the loop goes on meanwhile
        content.go_on.set()
        await saving
        assert threading.get_ident() not in content.threads

    runner.run(main())


class Piped(File):
    def chunks(self, chunk_size=None):
        yield from iter(self.file.read, b"")


def test_a_pipe_is_saved_while_the_loop_writes_to_it(runner, disk, root, fifo, asave):
    async def main():
        saving = asyncio.create_task(asave(disk, "a", Piped(fifo.file)))
        for number in range(3):
            fifo.write(str(number).encode())
            await steps()
        fifo.close()
        await saving

    runner.run(main())
    assert files_in(root) == {"a": b"012"}


def test_plain_code_keeps_djangos_behaviour(disk, root):
    content = Slow()
    content.go_on.set()
    disk.save("a", content)
    assert content.threads == {threading.get_ident()}
    assert disk.exists("a")
    assert disk.size("a") == 6
    assert files_in(root) == {"a": b"xxxxxx"}


def test_what_else_asks_the_disk_is_in_a_thread_too(runner, disk, monkeypatch, root):
    (root / "a").write_bytes(b"x")
    seen = []
    put = threads.Strand.put

    def noting(strand, job):
        seen.append(job)
        return put(strand, job)

    monkeypatch.setattr(threads.Strand, "put", noting)

    def function():
        disk.open("a").close()
        assert disk.exists("a")
        assert disk.size("a") == 1
        assert disk.listdir("") == ([], ["a"])
        disk.get_accessed_time("a")
        disk.get_created_time("a")
        disk.get_modified_time("a")
        disk.delete("a")
        assert disk.path("a") == str(root / "a")

    runner.run(bridge.run(function))
    assert len(seen) == 8
