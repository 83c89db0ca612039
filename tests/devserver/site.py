"""A new project with some views, and `manage.py runserver` as a process over it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests import newproject
from tests.postgres import free_port

TIMEOUT_S = 90

URLS = """
import asyncio
import threading

import onloop
from django.contrib import admin
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from mysite.words import WORD


async def where(request):
    return HttpResponse(onloop.where())


def where_sync(request):
    return HttpResponse(onloop.where())


async def who(request):
    return HttpResponse(f"{request.META['REMOTE_ADDR']} {request.scheme}")


def word(request):
    return HttpResponse(WORD)


def stuck(request):
    print("stuck now", flush=True)
    threading.Event().wait()


async def stream(request):
    async def parts():
        yield b"streaming"
        print("streaming now", flush=True)
        await asyncio.Event().wait()

    return StreamingHttpResponse(parts())


async def raises(request):
    raise ZeroDivisionError("on purpose")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("where/", where),
    path("where-sync/", where_sync),
    path("who/", who),
    path("word/", word),
    path("stuck/", stuck),
    path("stream/", stream),
    path("raises/", raises),
]
"""

HOOKS = """
from contextlib import asynccontextmanager
from pathlib import Path

EVENTS = Path(__file__).parent.parent / "events"


@asynccontextmanager
async def noted():
    with EVENTS.open("a") as file:
        file.write("entered\\n")
    yield
    with EVENTS.open("a") as file:
        file.write("left\\n")
"""

# Packages that are not to be found, though they are installed.
HIDING = """
import os
import sys


class Hider:
    def find_spec(self, name, path=None, target=None):
        if name in os.environ.get("HIDDEN", "").split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hider())
"""


def make(folder: Path) -> Path:
    """Make the project in `folder`, with its database."""
    newproject.make(folder)
    site = folder / "mysite"
    (site / "urls.py").write_text(URLS)
    (site / "words.py").write_text('WORD = "first"\n')
    (site / "hooks.py").write_text(HOOKS)
    with (site / "settings.py").open("a") as settings:
        settings.write('\nONLOOP = {"LIFESPAN": ["mysite.hooks.noted"]}\n')
    (folder / "sitecustomize.py").write_text(HIDING)
    newproject.run(folder, "manage", "migrate", "--verbosity", "0")
    return folder


def copy(made: Path, folder: Path) -> Path:
    """Copy a project that `make` has made, for a test that changes it."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


def hiding_all_but(package: str) -> str:
    """A value for `HIDDEN` that leaves one server."""
    return " ".join({"uvicorn", "daphne", "hypercorn"} - {package})


class Client:
    """Sends a request and leaves when its block ends."""

    def __init__(self, server: RunServer) -> None:
        self.server = server

    def __enter__(self) -> Client:
        self.server.get("/where/")  # it serves
        self.socket = socket.create_connection(("127.0.0.1", self.server.port))
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def ask(self, path: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


class RunServer:
    """`manage.py runserver` with `arguments`, on a free port; ended when the block is left."""

    def __init__(
        self, project: Path, *arguments: str, port: int = 0, address: str = "", **env: str
    ) -> None:
        self.project = project
        self.port = port or free_port()
        self.url = f"http://{address or '127.0.0.1'}:{self.port}"
        self._log = project / f"runserver-{self.port}.log"
        place = f"{address}:{self.port}" if address else str(self.port)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", place, *arguments],
                cwd=project,
                env=newproject.environment(
                    PYTHONPATH=str(project), PYTHONUNBUFFERED="1", **env
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> RunServer:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the child too
        except ProcessLookupError:
            pass
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def events(self) -> list[str]:
        """What the project's lifespan has noted."""
        file = self.project / "events"
        return file.read_text().split() if file.exists() else []

    def wait_for(self, condition, what: str) -> None:
        """Wait until `condition()` holds in the server, which cannot wake this process."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.log}"
            time.sleep(0.02)

    def wait_for_log(self, text: str, times: int = 1) -> None:
        self.wait_for(lambda: self.log.count(text) >= times, repr(text))

    def change(self, file: str, old: str, new: str) -> None:
        """Change a file of the site and wait until that is seen."""
        changed = self.project / "mysite" / file
        newproject.replace(changed, old, new)
        seen = self.log.count("changed, reloading.")

        def noticed() -> bool:
            # Django's reloader compares times with those that it first saw, perhaps just now.
            later = changed.stat().st_mtime_ns + 2_000_000_000
            os.utime(changed, ns=(later, later))
            return self.log.count("changed, reloading.") > seen

        self.wait_for(noticed, "the reload")

    def get(self, path: str, method: str = "GET") -> httpx.Response:
        """Ask for a path, as soon as the server accepts connections."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return httpx.request(method, self.url + path, timeout=TIMEOUT_S)
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"it does not serve:\n{self.log}"
                assert self.process.poll() is None, f"it has ended:\n{self.log}"
                time.sleep(0.02)

    def client(self) -> Client:
        """A client that asks without waiting for an answer."""
        return Client(self)

    def interrupt(self) -> None:
        """Press Ctrl-C: the whole group of the terminal gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Wait for its end and return the exit code; no process of it is left."""
        code = self.process.wait(TIMEOUT_S)
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return code
        raise AssertionError(f"a child is left:\n{self.log}")
