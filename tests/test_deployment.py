"""What `docs/deployment.md` says: its commands are started, and its code is run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests import newproject
from tests.postgres import ROOT, free_port

PAGE = (ROOT / "docs" / "deployment.md").read_text()
TIMEOUT_S = 90

URLS = """
import asyncio
import os
from pathlib import Path

from django.http import HttpResponse
from django.urls import path


async def pid(request):
    return HttpResponse(str(os.getpid()))


async def who(request):
    return HttpResponse(f"{request.META['REMOTE_ADDR']} {request.scheme}")


async def held(request):
    print("held now", flush=True)
    try:
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        print("held cancelled", flush=True)
        raise
    return HttpResponse("let go")


urlpatterns = [path("pid/", pid), path("who/", who), path("held/", held)]
"""

HOOKS = """
from contextlib import asynccontextmanager


@asynccontextmanager
async def noted():
    print("lifespan entered", flush=True)
    yield
    print("lifespan left", flush=True)
"""


def blocks(language):
    """The page's blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


COMMANDS = {block.split()[0]: block.strip() for block in blocks("sh")}
ONE_WORKER = COMMANDS["hypercorn"].replace("--workers 2", "--workers 1")
ON_EACH = pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian", "daphne"])


def python_with(text):
    (found,) = [block for block in blocks("python") if text in block]
    return found


class Server:
    """A command of the page, on a port of its own; ended when the block is left."""

    def __init__(self, project: Path, command: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.workers = int((re.findall(r"--workers (\d+)", command) or ["1"])[0])
        name, *arguments = shlex.split(command.replace("8000", str(port)))
        self._log = project / "server.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / name), *arguments],
                cwd=project,
                env=newproject.environment(DJANGO_SETTINGS_MODULE="mysite.settings"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, condition, what: str):
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.log}"
            assert self.process.poll() is None, f"it has ended:\n{self.log}"
            time.sleep(0.02)
        return found

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask, as soon as it serves."""

        def answer():
            try:
                return [httpx.get(self.url + path, headers=headers, timeout=TIMEOUT_S)]
            except httpx.TransportError:
                return None

        return self.wait_for(answer, path)[0]

    def wait_for_workers(self) -> None:
        """Wait until each has answered: Granian loses a SIGTERM that comes earlier."""
        seen: set[str] = set()

        def all_have_answered() -> bool:
            # A connection of its own each time: the kernel gives it to any worker.
            seen.add(self.get("/pid/").text)
            return len(seen) == self.workers

        self.wait_for(all_have_answered, "an answer of each worker")

    def end(self) -> int:
        """End it as a process manager does: SIGTERM to the first process."""
        self.process.terminate()
        return self.process.wait(TIMEOUT_S)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    newproject.make(tmp_path)
    (tmp_path / "mysite" / "urls.py").write_text(URLS)
    (tmp_path / "mysite" / "hooks.py").write_text(HOOKS)
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write('\nONLOOP = {"LIFESPAN": ["mysite.hooks.noted"]}\n')
    return tmp_path


def test_the_page_has_one_command_for_each_server():
    assert set(COMMANDS) == {"uvicorn", "hypercorn", "granian", "daphne"}
    assert len(COMMANDS) == len(blocks("sh"))


def test_the_systemd_unit_starts_the_command_of_the_page():
    (unit,) = blocks("ini")
    (command,) = re.findall(r"^ExecStart=/srv/mysite/.venv/bin/(.*)$", unit, re.MULTILINE)
    assert command == COMMANDS["uvicorn"]


@pytest.mark.parametrize("server", ["uvicorn", "granian", "daphne", "hypercorn", "hypercorn-1"])
def test_a_command_serves_with_its_workers_and_ends_at_sigterm(project, server):
    with Server(
        project, ONE_WORKER if server == "hypercorn-1" else COMMANDS[server]
    ) as running:
        running.wait_for_workers()
        assert running.end() in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
        assert "Traceback" not in running.log
        lifespans = 0 if server == "daphne" else running.workers
        assert running.log.count("lifespan entered") == lifespans
        left = running.log.count("lifespan left")
        if server == "hypercorn":
            assert left in {1, 2}  # the page says who is killed
        else:
            assert left == lifespans


# What becomes of a request when its server is told to end, and is given the time to answer.
FINISHED = ("let go", False)
CANCELLED = ("none", True)
ANSWERED_500 = ("Internal Server Error", True)
KILLED = ("none", False)


@pytest.mark.parametrize(
    ("command", "fate"),
    [
        (COMMANDS["uvicorn"], FINISHED),
        (COMMANDS["granian"], FINISHED),
        (ONE_WORKER, FINISHED),
        (COMMANDS["hypercorn"], KILLED),
        (COMMANDS["daphne"], CANCELLED),
        (COMMANDS["uvicorn"].replace("shutdown 20", "shutdown 1"), ANSWERED_500),
        (COMMANDS["granian"].replace("timeout 25", "timeout 1"), KILLED),
    ],
    ids=[
        *("uvicorn", "granian", "hypercorn-1", "hypercorn", "daphne"),
        *("uvicorn-late", "granian-late"),
    ],
)
def test_a_request_under_way_ends_as_the_page_says(project, command, fate):
    answers = []

    def ask():
        try:
            answers.append(httpx.get(running.url + "/held/", timeout=TIMEOUT_S).text)
        except httpx.TransportError:
            answers.append("none")

    with Server(project, command) as running:
        running.wait_for_workers()
        asking = threading.Thread(target=ask)
        asking.start()
        running.wait_for(lambda: "held now" in running.log, "the request")
        running.process.terminate()
        if fate == FINISHED:
            # It takes no more connections, so it has heard of its end.
            running.wait_for(lambda: refuses(running), "its end")
            (project / "go").touch()
        running.process.wait(TIMEOUT_S)
        asking.join(TIMEOUT_S)
        assert (*answers, "held cancelled" in running.log) == fate


def refuses(running: Server) -> bool:
    try:
        httpx.get(running.url + "/pid/", timeout=0.5)
    except httpx.TransportError:
        return True
    return False


@ON_EACH
def test_the_clients_address_and_scheme_come_from_the_proxy(project, server):
    wrapper = {"hypercorn": "ProxyFixMiddleware", "granian": "wrap_asgi_with_proxy_headers"}
    if server in wrapper:
        with (project / "mysite" / "asgi.py").open("a") as asgi:
            asgi.write(python_with(wrapper[server]))
    with Server(project, COMMANDS[server]) as running:
        headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        assert running.get("/who/", **headers).text == "192.0.2.7 https"
        assert running.get("/who/").text == "127.0.0.1 http"


@pytest.fixture
def with_health(project: Path) -> Path:
    urls = project / "mysite" / "urls.py"
    block = python_with("onloop.health").replace("urlpatterns =", "urlpatterns +=")
    urls.write_text(f"{URLS}\n{block}\n")
    return project


def test_the_health_checks_answer(with_health):
    with Server(with_health, COMMANDS["uvicorn"]) as running:
        assert running.get("/health/live/").status_code == 200
        assert running.get("/health/ready/").status_code == 200


def test_without_a_database_only_live_is_healthy(with_health):
    settings = with_health / "mysite" / "settings.py"
    newproject.replace(settings, "BASE_DIR / 'db.sqlite3'", "BASE_DIR / 'no' / 'db.sqlite3'")
    with Server(with_health, COMMANDS["uvicorn"]) as running:
        assert running.get("/health/live/").status_code == 200
        assert running.get("/health/ready/").status_code == 503


def test_the_proxys_setting_makes_a_request_secure(project):
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write(python_with("SECURE_PROXY_SSL_HEADER"))
    with Server(project, COMMANDS["hypercorn"]) as running:
        assert running.get("/who/", **{"X-Forwarded-Proto": "https"}).text.endswith(" https")
