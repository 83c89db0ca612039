"""The five lines of the README, on a project as `django-admin startproject` makes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import newproject
from tests.postgres import free_port

HTTP_TIMEOUT_S = 90


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return newproject.make(tmp_path)


@pytest.fixture
def address(project: Path) -> Iterator[str]:
    """The new project, migrated and served by uvicorn."""
    newproject.run(project, "manage", "migrate", "--verbosity", "0")
    port = free_port()
    with (project / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "mysite.asgi:application", "--port", str(port)],
            cwd=project,
            env=newproject.environment(),
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(90)
        assert "Traceback" not in (project / "server.log").read_text()


def test_a_new_project_passes_the_system_checks(project: Path) -> None:
    assert "no issues" in newproject.run(project, "manage", "check")


def test_a_new_project_is_served_with_its_admin(address: str) -> None:
    transport = httpx.HTTPTransport(retries=20)  # until uvicorn listens
    with httpx.Client(
        base_url=address, transport=transport, timeout=HTTP_TIMEOUT_S, follow_redirects=True
    ) as client:
        assert "The install worked successfully" in client.get("/").text
        page = client.get("/admin/")
        assert page.status_code == 200
        assert page.url.path == "/admin/login/"
        refused = client.post("/admin/login/", data={"username": "nobody", "password": "no"})
        assert refused.status_code == 403  # no CSRF token
        token = client.cookies["csrftoken"]
        form = {"username": "nobody", "password": "no", "csrfmiddlewaretoken": token}
        answer = client.post("/admin/login/", data=form)
        assert answer.status_code == 200
        assert "Please enter the correct username" in answer.text
