"""File responses on their way out: read in a thread, a block ahead, closed whatever happens."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse
from django.urls import path

from onloop import bridge, files
from onloop.files import threads
from onloop.files.strands import strand_of
from tests.conftest import HTTP_TIMEOUT_S
from tests.loops import steps, until
from tests.project.desk import views as desk
from tests.project.library.models import Author, Scan

CHUNK = 2**16
CONTENT = bytes(range(256)) * 1024  # four chunks
SOURCE = Path(desk.__file__).read_bytes()


class Noting(io.FileIO):
    """A file that notes how it is read; `may_read` holds up its reads."""

    def __init__(self, path):
        super().__init__(path)
        self.reads, self.threads = 0, set()
        self.may_read = threading.Event()
        self.may_read.set()
        self.closed_while_read = False
        self._reading = False

    def read(self, size=-1):
        self.threads.add(threading.get_ident())
        self.reads += 1
        self._reading = True
        assert self.may_read.wait(90)
        self._reading = False
        return super().read(size)

    def close(self):
        self.closed_while_read |= getattr(self, "_reading", False)
        super().close()


file: Noting


@pytest.fixture(autouse=True)
def _file(tmp_path):
    global file  # noqa: PLW0603 - views are functions of the module
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    file = Noting(path)
    yield
    file.may_read.set()
    assert file.closed, "the response's file is still open"
    assert not file.closed_while_read


# --- views ----------------------------------------------------------------------------------


async def djangos(request):
    return FileResponse(file)


def djangos_in_thread(request):
    return FileResponse(file)


async def ours(request):
    return files.FileResponse(file, request=request)


async def memory(request):
    file.close()
    return files.FileResponse(ContentFile(CONTENT, name="a.bin"), request=request)


class Asking:
    """A file that is made of rows, on the request's own connection."""

    def __init__(self):
        self.rest = [b"a", b"b"]

    def read(self, size=-1):
        assert Author.objects.count() == 0
        assert bridge.active()
        return self.rest.pop(0) if self.rest else b""


async def asking(request):
    file.close()
    return FileResponse(Asking())


class Body(File):
    """A file that waits on the loop by itself."""

    async def aread(self, size=-1):
        await asyncio.sleep(0)
        return self.file.read(size)

    def read(self, size=-1):
        return bridge.await_(self.aread(size))


async def waiting(request):
    return files.FileResponse(Body(file), request=request)


async def field(request):
    file.close()
    return files.FileResponse(Scan(file="a.bin").file, request=request)


urlpatterns = [
    path("djangos/", djangos),
    path("djangos-in-thread/", djangos_in_thread),
    path("ours/", ours),
    path("memory/", memory),
    path("asking/", asking),
    path("waiting/", waiting),
    path("field/", field),
    path("source/", desk.source),
]

each = pytest.mark.parametrize("address", ["/djangos/", "/djangos-in-thread/", "/ours/"])


# --- whole ----------------------------------------------------------------------------------


@each
async def test_a_file_is_read_in_threads_in_the_servers_pieces(project, address):
    answer = await project.get(address)
    assert (answer.status, answer.content) == (200, CONTENT)
    assert [len(part) for part in answer.parts] == [CHUNK] * 4
    assert answer.complete
    assert threading.get_ident() not in file.threads


async def test_the_files_in_memory_and_of_fields(project, media):
    (media / "a.bin").write_bytes(CONTENT)
    for address in ("/memory/", "/field/"):
        whole = await project.get(address)
        part = await project.get(address, headers=[("range", "bytes=5-8")])
        assert (whole.content, part.content) == (CONTENT, CONTENT[5:9])


async def test_a_file_that_asks_the_database_is_read_in_the_bridge(project):
    assert (await project.get("/asking/")).content == b"ab"


async def test_a_file_that_waits_by_itself_is_read_in_the_bridge(project):
    assert (await project.get("/waiting/")).content == CONTENT
    assert file.threads == {threading.get_ident()}


async def test_the_block_is_read_while_others_are_served(project):
    file.may_read.clear()
    exchange = project.get("/ours/").start()
    await until(lambda: file.reads)
    file_of_another = await project.get("/source/")
    assert file_of_another.content == SOURCE
    file.may_read.set()
    assert (await exchange).content == CONTENT


@each
async def test_it_is_read_one_block_ahead_and_no_more(project, address):
    exchange = project.get(address)
    exchange.stop_reading()
    exchange.start()
    await exchange.until(lambda e: len(e.messages) == 1)
    exchange.read()  # the head
    for count in range(1, 4):
        await exchange.until(lambda e, count=count: len(e.parts) == count)
        await until(lambda: not strand_of(file).busy)
        assert file.reads == count + 1
        exchange.read()
    exchange.go_on_reading()
    await exchange
    assert exchange.content == CONTENT


async def test_a_compressed_file_is_read_in_threads_too(project, settings_with_gzip):
    settings_with_gzip()
    answer = await project.get("/djangos/", headers=[("accept-encoding", "gzip")])
    assert gzip.decompress(answer.content) == CONTENT
    assert threading.get_ident() not in file.threads


@pytest.fixture
def settings_with_gzip(project):
    from tests.project.settings import MIDDLEWARE

    middleware = ["django.middleware.gzip.GZipMiddleware", *MIDDLEWARE]
    return lambda: project.configure(MIDDLEWARE=middleware)


# --- ends -----------------------------------------------------------------------------------


@each
async def test_a_client_that_leaves_while_a_block_is_read(project, address):
    """`_file` looks whether the file is closed, and was not closed under the read."""
    exchange = project.get(address)
    exchange.stop_reading()
    exchange.start()
    await exchange.until(lambda e: len(e.messages) == 1)
    file.may_read.clear()
    exchange.read()
    await until(lambda: file._reading)
    exchange.leave()
    await until(exchange.task.cancelling)
    await steps()
    file.may_read.set()
    exchange.go_on_reading()
    await exchange
    await until(lambda: not strand_of(file).busy)


@each
async def test_a_client_that_leaves_while_a_block_is_sent(project, address):
    exchange = project.get(address)
    exchange.stop_reading()
    exchange.start()
    await exchange.until(lambda e: len(e.messages) == 1)
    exchange.read()
    await exchange.until(lambda e: len(e.parts) == 1)
    exchange.leave()
    await exchange
    assert file.closed


@each
async def test_a_client_that_leaves_while_the_next_block_is_read(project, address):
    exchange = project.get(address)
    exchange.stop_reading()
    exchange.start()
    await exchange.until(lambda e: len(e.messages) == 1)
    exchange.read()
    await exchange.until(lambda e: len(e.parts) == 1)
    await until(lambda: not strand_of(file).busy)
    file.may_read.clear()
    exchange.read()  # the second block goes out, the third is read
    await until(lambda: file._reading)
    exchange.leave()
    await until(exchange.task.cancelling)
    await steps()
    assert not exchange.task.done()
    file.may_read.set()
    await exchange
    assert file.closed


@each
@pytest.mark.parametrize("times", [1, 2])
async def test_a_server_that_cancels_while_a_block_is_read(project, address, times):
    file.may_read.clear()
    exchange = project.get(address).start()
    await until(lambda: getattr(file, "_reading", False))
    for _ in range(times):
        exchange.task.cancel()
        await steps()
        assert not exchange.task.done()
    file.may_read.set()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    await until(lambda: file.closed)


async def test_a_disk_that_hangs_keeps_its_file_and_lets_the_request_go(project, monkeypatch):
    monkeypatch.setattr(threads, "FINISH_S", 0)
    file.may_read.clear()
    exchange = project.get("/ours/").start()
    await until(lambda: getattr(file, "_reading", False))
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert not file.closed
    file.may_read.set()
    await until(lambda: file.closed)


async def test_a_client_that_is_gone_before_the_first_block(project):
    exchange = project.get("/ours/")
    exchange.send_error = OSError("gone")
    await exchange
    assert file.closed


async def test_a_read_that_fails_reaches_the_server(project, monkeypatch):
    def read(size=-1):
        raise OSError("a bad sector")

    monkeypatch.setattr(file, "read", read)
    exchange = project.get("/ours/")
    with pytest.raises(OSError, match="a bad sector"):
        await exchange
    assert not exchange.complete


async def test_a_file_that_was_cut_off_meanwhile_ends_early(project, tmp_path):
    exchange = project.get("/ours/")
    exchange.stop_reading()
    exchange.start()
    await exchange.until(lambda e: len(e.messages) == 1)
    (tmp_path / "file.bin").write_bytes(CONTENT[:CHUNK])
    exchange.go_on_reading()
    await exchange
    assert exchange.content == CONTENT[:CHUNK]


# --- on real servers ------------------------------------------------------------------------


@pytest.mark.usefixtures("_closed")
class TestOnServers:
    @pytest.fixture
    def _closed(self):
        file.close()

    @pytest.mark.parametrize("asgi_server", ["asyncio", "uvloop"], indirect=True)
    def test_ranges_and_conditions_over_a_socket(self, http):
        self.check(http, "/desk/source/")

    def test_ranges_and_conditions_under_wsgi(self, wsgi):
        self.check(wsgi, "/source/")

    def check(self, http, address):
        whole = http.get(address)
        assert (whole.status_code, whole.content) == (200, SOURCE)
        part = http.get(address, headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, SOURCE[10:20])
        several = http.get(address, headers={"range": "bytes=0-0,-1"})
        assert several.status_code == 206
        assert several.headers["content-type"].startswith("multipart/byteranges")
        beyond = http.get(address, headers={"range": f"bytes={len(SOURCE)}-"})
        assert (beyond.status_code, beyond.content) == (416, b"")
        assert beyond.headers["content-range"] == f"bytes */{len(SOURCE)}"
        known = http.get(address, headers={"if-none-match": whole.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        head = http.head(address)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(SOURCE)))

    @pytest.fixture
    def wsgi(self, settings_of_this_module):
        class Quiet(WSGIRequestHandler):
            def log_message(self, *args):
                pass

        application = get_wsgi_application()
        with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
            thread = threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.01}
            )
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}"
            with httpx.Client(base_url=url, timeout=HTTP_TIMEOUT_S) as client:
                yield client
            server.shutdown()
            thread.join()

    @pytest.fixture
    def settings_of_this_module(self, db_clean):
        from django.test import override_settings

        with override_settings(ROOT_URLCONF=__name__):
            yield
