"""`make demo-full`: all parts work together, and nothing is left of them, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import django
import psutil
import pytest

from tests.postgres import free_port
from tests.redis import executable as redis_executable
from tests.workspace.conftest import PASSWORD, WORKSPACE
from tests.workspace.members import Member, Socket, member
from tests.workspace.test_jobs import lines, some_sku
from tests.workspace.works import begin, ended, page

# Against hanging. It makes a database and fills it, and ends five programs.
pytestmark = pytest.mark.timeout(300)
DEADLINE_S = 120


class Demo:
    """`demo_full.py` in a process of its own, as from a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "output"
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "demo_full.py"],
                cwd=WORKSPACE,
                env={
                    **os.environ,
                    "DEMO_FULL_DIR": str(folder / "data"),
                    "DEMO_PASSWORD": PASSWORD,
                    "LOG_FORMAT": "json",
                    "PORT": str(self.port),
                    "SECRET_KEY": "only-for-this-test-run",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait_until_it_says(f"{self.url}/ ")
        self.parts = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._seen)
            return file.read().decode(errors="replace")

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the service and its worker."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def wait_until_it_says(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def part(self, *words: str) -> list[psutil.Process]:
        """The programs that it has started whose command has these words."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                if set(words) <= set(child.cmdline()):
                    found.append(child)
        return found

    def end(self, number: int) -> int:
        """Send a signal to the supervisor alone, and return its exit code."""
        self.parts = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def is_gone(self) -> None:
        """None of its programs runs, and no socket has stayed behind as a file."""
        _, alive = psutil.wait_procs(self.parts, timeout=DEADLINE_S)
        assert alive == [], self.output
        files = self.folder.rglob("*")
        assert [path for path in files if stat.S_ISSOCK(path.lstat().st_mode)] == []
        assert not (self.folder / "data" / "postgresql" / "postmaster.pid").exists()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where PostgreSQL's own user gets in, if this is root. Filled by whoever comes first."""
    redis_executable()  # or the tests are skipped
    path = Path(tempfile.mkdtemp(prefix="onloop-demo-full-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def demo(folder: Path) -> Iterator[Demo]:
    running = Demo(folder)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)
    running.is_gone()


def process_of(demo: Demo, socket: Socket) -> int:
    """The id of the process that has the other end of a socket."""
    _, port = socket.connection.local_address[:2]
    for part in demo.part("web"):
        if any(its.raddr and its.raddr.port == port for its in part.net_connections("tcp")):
            return part.pid
    raise AssertionError("no web process has it")


async def sockets_of_both(
    demo: Demo, somebody: Member, stack: AsyncExitStack
) -> dict[int, Socket]:
    """A socket in each web process: the kernel chooses, so it is tried again."""
    found: dict[int, Socket] = {}
    for _ in range(60):
        socket = await stack.enter_async_context(somebody.socket("/rooms/general/"))
        found.setdefault(process_of(demo, socket), socket)
        if len(found) == 2:
            return found
    raise AssertionError("one process got all sockets")


async def test_all_parts_work_together_and_ctrl_c_ends_them(demo: Demo) -> None:
    async with member(demo, "demo") as somebody, AsyncExitStack() as stack:  # type: ignore[arg-type]
        answer = await somebody.client.get("/catalogue/")
        assert answer.status_code == 200
        assert "X-Request-ID" in answer.headers

        one, other = (await sockets_of_both(demo, somebody, stack)).values()
        number = await one.post("Does it reach the other process?")
        heard = await other.next_of("message")
        assert heard["number"] == number

        (worker,) = demo.part("celery")
        worker.suspend()
        address = await begin(somebody, "import", lines(f"{some_sku()},T,lamps,5,3,"))
        assert (await page(somebody, address)).state == "waiting"
        worker.resume()
        assert (await ended(somebody, address)).counts["created"] == 1
        if django.VERSION >= (6, 0):  # before that, nothing is logged of a job
            # It has the id of the request that began it.
            told = [line for line in demo.logged() if "import_products" in line["message"]]
            (began,) = [line for line in demo.logged() if "POST /jobs/ 302" in line["message"]]
            assert {line["process"] for line in told} == {worker.pid}
            assert {line["request_id"] for line in told} == {began["request_id"]}

    assert demo.end(signal.SIGINT) == 0
    demo.is_gone()
    assert "Traceback" not in demo.output


async def test_a_part_that_is_killed_is_started_again(demo: Demo) -> None:
    for words in (["web"], ["celery"]):
        killed = demo.part(*words)[0]
        killed.kill()
        demo.wait_until_it_says("has ended with signal 9")
        deadline = time.monotonic() + DEADLINE_S
        while len(demo.part(*words)) < (2 if words == ["web"] else 1):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert killed not in demo.part(*words)
    async with member(demo, "demo") as somebody, AsyncExitStack() as stack:  # type: ignore[arg-type]
        await sockets_of_both(demo, somebody, stack)
    assert demo.end(signal.SIGTERM) == 0
    demo.is_gone()


def test_nothing_is_left_if_it_is_killed(demo: Demo) -> None:
    assert demo.part("web")
    assert demo.end(signal.SIGKILL) == -signal.SIGKILL
    demo.is_gone()


def test_a_second_one_says_that_it_runs_already(demo: Demo) -> None:
    done = subprocess.run(
        [sys.executable, "demo_full.py"],
        cwd=WORKSPACE,
        env={**os.environ, "DEMO_FULL_DIR": str(demo.folder / "data"), "PORT": str(demo.port)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "It runs already" in done.stderr
