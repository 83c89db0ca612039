"""`await file.aread()` and the like, on each kind of file that Django has."""

from __future__ import annotations

import asyncio
import gc
import io
import tempfile
import threading
import time

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    SimpleUploadedFile,
    TemporaryUploadedFile,
)

from onloop.files import strands, threads
from onloop.files.strands import strand_of
from tests.loops import steps, until
from tests.project.library.models import Scan

CONTENT = bytes(range(256)) * 1024  # four chunks


def on_disk(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return File(path.open("rb+"))


def temporary(tmp_path):
    file = TemporaryUploadedFile("name", "text/plain", len(CONTENT), None)
    file.write(CONTENT)
    file.seek(0)
    return file


def spooled(tmp_path):
    file = tempfile.SpooledTemporaryFile(max_size=2**30)  # noqa: SIM115 - its user closes it
    file.write(CONTENT)
    file.seek(0)
    return File(file, name="spooled")


def rolled(tmp_path):
    file = spooled(tmp_path)
    file.file.rollover()
    return file


def in_memory(tmp_path):
    return InMemoryUploadedFile(io.BytesIO(CONTENT), None, "name", None, len(CONTENT), None)


def field(tmp_path):
    scan = Scan()
    scan.file = on_disk(tmp_path)
    return scan.file


def wrapped(tmp_path):
    return File(on_disk(tmp_path))


MEMORY = [
    spooled,
    in_memory,
    lambda _: ContentFile(CONTENT),
    lambda _: SimpleUploadedFile("n", CONTENT),
]
DISK = [on_disk, temporary, rolled, field, wrapped]


def _name(make):
    return make.__name__


@pytest.fixture(params=DISK, ids=_name)
def disk_file(request, tmp_path):
    with request.param(tmp_path) as file:
        yield file


@pytest.fixture(params=[*DISK, *MEMORY], ids=_name)
def file(request, tmp_path):
    with request.param(tmp_path) as file:
        yield file


@pytest.fixture
def started(monkeypatch):
    """How many calls went into a thread."""
    calls = []
    run = threads.Job.run

    def noting(job):
        calls.append(threading.get_ident())
        run(job)

    monkeypatch.setattr(threads.Job, "run", noting)
    return calls


# --- what is read ---------------------------------------------------------------------------


def test_a_file_is_read_whole(runner, file):
    assert runner.run(file.aread()) == CONTENT


def test_reading_goes_on_from_where_the_file_stands(runner, file):
    async def main():
        first = await file.aread(10)
        assert file.tell() == 10
        return first, file.read(10), await file.aread(10), await file.aread(-1)

    pieces = runner.run(main())
    assert [len(piece) for piece in pieces] == [10, 10, 10, len(CONTENT) - 30]
    assert b"".join(pieces) == CONTENT


@pytest.mark.parametrize("size", [None, 1000, 2**20])
def test_chunks_are_those_of_the_synchronous_method(runner, file, size):
    async def main():
        await file.aread(5)
        return [chunk async for chunk in file.achunks(size)]

    chunks = runner.run(main())
    assert chunks == list(file.chunks(size))


def test_seeking_returns_the_position(runner, file):
    async def main():
        return await file.aseek(-4, io.SEEK_END), await file.aread(), await file.aseek(2)

    assert runner.run(main()) == (len(CONTENT) - 4, CONTENT[-4:], 2)
    assert file.tell() == 2


def test_what_is_written_is_read(runner, file):
    async def main():
        await file.aseek(3)
        assert await file.awrite(b"new") == 3
        await file.aseek(0)
        return await file.aread(7)

    assert runner.run(main()) == CONTENT[:3] + b"new" + CONTENT[6:7]


def test_text_is_read_as_text(runner, tmp_path):
    path = tmp_path / "text"
    path.write_text("äöü\n" * 3)

    async def main():
        async with File(path.open()) as file:
            return await file.aread(2), [chunk async for chunk in file.achunks(4)]

    assert runner.run(main()) == ("äö", ["äöü\n"] * 3)


def test_closing_closes(runner, disk_file):
    runner.run(disk_file.aclose())
    assert disk_file.closed


def test_a_block_closes_its_file(runner, tmp_path):
    async def main():
        async with on_disk(tmp_path) as file:
            assert not file.closed
        return file.closed

    assert runner.run(main())


def test_a_closed_file_is_opened_again(runner, tmp_path):
    file = on_disk(tmp_path)

    async def main():
        await file.aclose()
        assert await file.aopen("rb") is file
        async with file:
            return await file.aread()

    assert runner.run(main()) == CONTENT


def test_an_open_file_is_rewound(runner, disk_file):
    async def main():
        await disk_file.aread(3)
        await disk_file.aopen()
        return disk_file.tell()

    assert runner.run(main()) == 0


def test_a_file_that_cannot_be_read_says_so(runner, tmp_path):
    async def main():
        async with File((tmp_path / "new").open("wb")) as file:
            with pytest.raises(io.UnsupportedOperation):
                await file.aread()
            await file.awrite(b"x")
        async with on_disk(tmp_path) as file:
            pass
        with pytest.raises(ValueError, match="closed file"):
            await file.aread()

    runner.run(main())


def test_chunks_that_a_class_makes_in_its_own_way_are_its_own(runner, tmp_path):
    class Lines(File):
        def chunks(self, chunk_size=None):
            yield from (b"one", b"two")

    async def main():
        async with Lines(on_disk(tmp_path)) as file:
            return [chunk async for chunk in file.achunks()]

    assert runner.run(main()) == [b"one", b"two"]


def test_the_file_of_a_field_is_opened_in_a_thread(runner, media, started):
    (media / "a").write_bytes(CONTENT)

    async def main():
        async with Scan(file="a").file as file:
            assert await file.aread() == CONTENT
            assert [chunk async for chunk in file.achunks()] == list(file.chunks())

    runner.run(main())
    assert threading.get_ident() not in started


@pytest.mark.parametrize("method", ["aread", "aopen"])
def test_a_field_without_a_file_says_so(runner, method):
    with pytest.raises(ValueError, match="has no file associated"):
        runner.run(getattr(Scan().file, method)())


# --- where it is read -------------------------------------------------------------------------


@pytest.mark.parametrize("make", MEMORY, ids=_name)
def test_what_is_in_memory_uses_no_thread(runner, started, make):
    async def main():
        file = make(None)
        await file.awrite(b"x")
        await file.aseek(0)
        await file.aread(3)
        assert b"".join([chunk async for chunk in file.achunks()])
        await file.aclose()

    runner.run(main())
    assert started == []


def test_what_is_on_a_disk_is_read_in_a_thread(runner, started, disk_file):
    runner.run(disk_file.aread())
    assert len(started) == 1
    assert started[0] != threading.get_ident()


def test_the_loop_writes_what_a_thread_waits_for(runner, fifo):
    async def main():
        reading = asyncio.create_task(fifo.file.aread(100))
        await until(lambda: at_work(fifo.file))
        fifo.write(b"from the loop")
        return await reading

    assert runner.run(main()) == b"from the loop"


def at_work(file):
    """Whether a call about the file is in a thread; others may be in line behind it."""
    strand = strand_of(file)
    return strand.busy and not strand.jobs


# --- cancelled, and two at once ---------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_read_is_over_when_the_task_goes_on(runner, fifo, times):
    """So `with open(...)` around it does not close the file under its thread."""

    async def main():
        reading = asyncio.create_task(fifo.file.aread(100))
        await until(lambda: at_work(fifo.file))
        for _ in range(times):
            reading.cancel()
            await steps()
            assert not reading.done()
        fifo.write(b"lost")
        with pytest.raises(asyncio.CancelledError):
            await reading
        fifo.write(b"next")
        return await fifo.file.aread(100)

    assert runner.run(main()) == b"next"


def test_a_read_that_hangs_keeps_its_file_until_it_comes_back(runner, fifo, monkeypatch):
    monkeypatch.setattr(threads, "FINISH_S", 0)

    async def main():
        reading = asyncio.create_task(fifo.file.aread(100))
        await until(lambda: at_work(fifo.file))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        next_one = asyncio.create_task(fifo.file.aread(100))
        await steps()
        await fifo.file.aclose()  # in line, behind both
        assert not fifo.file.closed
        fifo.write(b"lost")
        await until(lambda: len(strand_of(fifo.file).jobs) == 1)  # the second one reads
        fifo.write(b"next")
        read = await next_one
        await until(lambda: fifo.file.closed)
        return read

    assert runner.run(main()) == b"next"


def test_two_tasks_on_one_file_never_get_the_same_bytes(runner, disk_file):
    async def pieces():
        found = []
        while piece := await disk_file.aread(1024):
            found.append(piece)
        return found

    async def main():
        return await asyncio.gather(pieces(), pieces())

    one, two = runner.run(main())
    assert one
    assert two
    assert sorted(one + two) == sorted(CONTENT[n : n + 1024] for n in range(0, 2**18, 1024))


def test_wrappers_of_one_file_stand_in_one_line(runner, fifo):
    async def main():
        other = File(fifo.file, name="other")
        scan = Scan()
        scan.file = other
        first = asyncio.create_task(fifo.file.aread(100))
        await until(lambda: at_work(fifo.file))
        assert at_work(other)
        assert at_work(scan.file)
        second = asyncio.create_task(scan.file.aread(100))
        await steps()
        fifo.write(b"1")
        assert await first == b"1"
        fifo.write(b"2")
        assert await second == b"2"

    runner.run(main())


def test_the_file_of_a_field_keeps_its_line_when_it_is_opened(runner, media):
    (media / "a").write_bytes(CONTENT)

    async def main():
        async with Scan(file="a").file as file:
            before = strand_of(file)
            await file.aread(1)
            assert strand_of(file) is strand_of(File(file.file)) is before

    runner.run(main())


def test_strands_are_forgotten_with_their_files(runner, tmp_path):
    async def main():
        async with on_disk(tmp_path) as file:
            await file.aread(1)
            return id(strands.innermost(file))

    key = runner.run(main())
    deadline = time.monotonic() + 90
    while key in strands._strands:  # its thread may be about to let go of it
        assert time.monotonic() < deadline
        gc.collect()
