"""Uploads that are written to the disk while they come in."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from pathlib import Path

import pytest
from django.core.files import uploadedfile, uploadhandler
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import RequestFactory, override_settings
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from onloop import bridge
from onloop.files import uploads
from tests.files.content import files_in
from tests.loops import steps, until, wait_for_thread

BIG = bytes(range(256)) * 2**13  # 2 MiB


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """Where uploads are on the disk."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    with override_settings(FILE_UPLOAD_TEMP_DIR=str(folder), FILE_UPLOAD_MAX_MEMORY_SIZE=0):
        yield folder


@pytest.fixture
def written(monkeypatch):
    """How many bytes at a time went to the disk, and whether on the loop's thread."""
    seen = []
    write_all = uploads.TemporaryUploadedFile._write_all

    def noting(self, chunks):
        seen.append((sum(map(len, chunks)), threading.current_thread().name[:17]))
        write_all(self, chunks)

    monkeypatch.setattr(uploads.TemporaryUploadedFile, "_write_all", noting)
    return seen


def new_file(name="a.txt"):
    # As Django's handler makes it.
    return uploadhandler.TemporaryUploadedFile(name, "text/plain", 0, None)


def write(file, content=BIG, chunk=2**16):
    for start in range(0, len(content), chunk):
        assert file.write(content[start : start + chunk]) == len(content[start : start + chunk])


# --- the file -------------------------------------------------------------------------------


def test_the_handlers_files_are_djangos_still():
    with new_file() as file:
        assert isinstance(file, uploadedfile.TemporaryUploadedFile)


def test_it_is_written_in_threads_in_large_pieces(runner, written):
    def function():
        with new_file() as file:
            write(file, BIG + b"rest")
            file.seek(0)
            return file.read() == BIG + b"rest"

    assert runner.run(bridge.run(function))
    assert written == [(uploads.WRITE_SIZE, "onloop-files-disk")] * 8 + [
        (4, "onloop-files-disk")
    ]


def test_no_more_than_one_piece_is_in_memory(runner, folder):
    def function():
        with new_file() as file:
            for start in range(0, len(BIG), 2**16):
                file.write(BIG[start : start + 2**16])
                assert sum(map(len, file._pending)) < uploads.WRITE_SIZE

    runner.run(bridge.run(function))


def by_open(file):
    return Path(file.temporary_file_path()).read_bytes()


def by_descriptor(file):
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return os.read(file.fileno(), 100)


def by_position(file):
    assert file.tell() == 7
    file.seek(0)
    return file.read()


def by_iteration(file):
    return b"".join(file)


def by_chunks(file):
    return b"".join(file.chunks())


def by_line(file):
    file.seek(0)
    return file.readline()


def by_inner_file(file):
    file.file.seek(0)
    return file.file.read()


def by_async_method(file):
    async def read():
        await file.aseek(0)
        return await file.aread()

    return bridge.await_(read())


def by_saving(file):
    name = default_storage.save("saved", file)
    return Path(default_storage.path(name)).read_bytes()


WAYS = [
    by_open, by_descriptor, by_position, by_iteration, by_chunks, by_line, by_inner_file,
    by_async_method, by_saving,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whoever_looks_at_it_sees_all_that_was_written(runner, media, way):
    def function():
        with new_file() as file:
            file.write(b"con")
            file.write(b"tent")
            return way(file)

    assert runner.run(bridge.run(function)) == b"content"


def test_it_may_be_written_and_read_in_turn(runner):
    def function():
        with new_file() as file:
            file.write(b"content")
            file.seek(3)
            file.write(b"X")
            assert file.tell() == 4
            assert file.read() == b"ent"
            file.seek(0)
            return file.read()

    assert runner.run(bridge.run(function)) == b"conXent"


def test_a_thread_goes_on_where_the_bridge_wrote(runner):
    async def main():
        file = await bridge.run(new_file)
        await bridge.run(file.write, b"bridge,")

        def in_thread():
            file.write(b"thread")
            file.seek(0)
            return file.read()

        found = await asyncio.to_thread(in_thread)
        await bridge.run(file.close)
        return found

    assert runner.run(main()) == b"bridge,thread"


def test_closing_deletes_it_in_a_thread(runner, folder, monkeypatch):
    closed = []
    close = uploads.TemporaryUploadedFile._close

    def noting(self):
        closed.append(threading.current_thread().name[:17])
        close(self)

    monkeypatch.setattr(uploads.TemporaryUploadedFile, "_close", noting)

    def function():
        file = new_file()
        write(file, b"never written")
        assert len(files_in(folder)) == 1
        file.close()
        file.close()
        assert file.closed

    runner.run(bridge.run(function))
    assert set(closed) == {"onloop-files-disk"}
    assert files_in(folder) == {}


def test_in_plain_code_it_is_as_djangos(folder, written):
    with new_file() as file:
        write(file, b"content")
        file.seek(0)
        assert file.read() == b"content"
        assert written == []
    assert files_in(folder) == {}


@pytest.mark.parametrize("times", [1, 2])
def test_a_write_that_is_cancelled_leaves_no_file(runner, folder, monkeypatch, times):
    begun, go_on = threading.Event(), threading.Event()
    write_all = uploads.TemporaryUploadedFile._write_all

    def slow(self, chunks):
        begun.set()
        assert go_on.wait(90)
        write_all(self, chunks)

    monkeypatch.setattr(uploads.TemporaryUploadedFile, "_write_all", slow)

    async def main():
        file = await bridge.run(new_file)
        writing = asyncio.create_task(bridge.run(write, file))
        await wait_for_thread(begun)
        for _ in range(times):
            writing.cancel()
            await steps()
        assert len(files_in(folder)) == 1  # not deleted under its thread
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await until(lambda: file._file_on_disk.closed)

    runner.run(main())
    assert files_in(folder) == {}


def test_a_disk_that_is_full_says_so_and_leaves_nothing(runner, folder):
    def function():
        file = new_file()
        with pytest.raises(OSError, match="File too large"):
            write(file)
        assert file.closed

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        runner.run(bridge.run(function))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_in(folder) == {}


@pytest.mark.parametrize("name", ["a." + "x" * 1000, "a." + "ü" * 200, "." * 300 + "x"])
def test_the_clients_extension_may_be_as_long_as_it_likes(runner, name):
    def function():
        with new_file(name) as file:
            return file.name

    found = runner.run(bridge.run(function))
    assert 0 < len(found) <= 255


# --- the handler ----------------------------------------------------------------------------


def multipart(**files):
    data = {field: ContentFile(content, name=name) for field, (name, content) in files.items()}
    return encode_multipart(BOUNDARY, data)


def test_a_form_is_parsed_in_a_bridge(runner, folder, written):
    body = multipart(one=("one.txt", BIG), two=("two.txt", b"2"))

    def function():
        request = RequestFactory().generic("POST", "/", body, content_type=MULTIPART_CONTENT)
        one, two = request.FILES["one"], request.FILES["two"]
        assert (one.size, two.size) == (len(BIG), 1)
        assert (one.read(), two.read()) == (BIG, b"2")
        assert Path(one.temporary_file_path()).read_bytes() == BIG
        request.close()

    runner.run(bridge.run(function))
    assert max(size for size, _ in written) < uploads.WRITE_SIZE + 2**16
    assert files_in(folder) == {}


class Leaving:
    """The body of a client that leaves in the middle."""

    def __init__(self, body, error):
        self.rest, self.error = body[: len(body) // 2], error

    def read(self, size=-1):
        if not self.rest:
            raise self.error
        piece, self.rest = self.rest[: 2**16], self.rest[2**16 :]
        return piece


def test_an_upload_that_is_interrupted_leaves_no_file(runner, folder):
    body = multipart(one=("one.txt", BIG))

    def function():
        request = RequestFactory().generic("POST", "/", body, content_type=MULTIPART_CONTENT)
        request._stream = Leaving(body, OSError)
        with pytest.raises(OSError):  # noqa: PT011 - Django's own, without a text
            request.FILES  # noqa: B018 - the access parses
        assert len(files_in(folder)) == 1
        for handler in request.upload_handlers:
            handler.upload_interrupted()  # Onloop's request does
        assert files_in(folder) == {}

    runner.run(bridge.run(function))


def test_users_own_handlers_go_on_working(runner):
    class Quota(uploadhandler.TemporaryFileUploadHandler):
        total = 0

        def receive_data_chunk(self, raw_data, start):
            self.total += len(raw_data)
            return super().receive_data_chunk(raw_data, start)

    def function():
        request = RequestFactory().generic(
            "POST", "/", multipart(one=("one.txt", BIG)), content_type=MULTIPART_CONTENT
        )
        handler = Quota(request)
        request.upload_handlers = [handler]
        with request.FILES["one"] as file:
            return file.size, handler.total, file.read() == BIG

    assert runner.run(bridge.run(function)) == (len(BIG), len(BIG), True)
