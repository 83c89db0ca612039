"""The example as in production: its settings, static files, and what it logs."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import AsgiServer
from tests.workspace.conftest import WORKSPACE, Starting
from tests.workspace.members import member

DEPLOYMENT = (WORKSPACE / "DEPLOYMENT.md").read_text()
# In place of what the page tells the reader to fill in.
FILLED_IN = {
    "SECRET_KEY": "k" * 20 + "0123456789abcdefghijklmnopqrstuvwxyz",
    "DATABASE_URL": "",
}
REQUEST_ID = "X-Request-ID"


def production() -> dict[str, str]:
    """The variables that the page of deployment lists."""
    (block,) = re.findall(r"^```ini\n(DEBUG=.*?)^```", DEPLOYMENT, re.DOTALL | re.MULTILINE)
    pairs = (line.split("=", 1) for line in block.splitlines() if line and line[0] != "#")
    return {name: FILLED_IN.get(name, value) for name, value in pairs}


def manage(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=WORKSPACE,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "workspace.settings", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- settings ---------------------------------------------------------------------------------


def test_the_documented_variables_pass_djangos_check_of_a_deployment() -> None:
    done = manage("check", "--deploy", "--fail-level", "WARNING", **production())
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


def test_each_of_them_is_read() -> None:
    read = "".join(
        (WORKSPACE / "workspace" / name).read_text()
        for name in ("settings.py", "environment.py")
    )
    assert [name for name in production() if f'"{name}"' not in read] == []


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("HTTPS", "maybe", "HTTPS must be 1 or 0"),
        ("HSTS_SECONDS", "-1", "HSTS_SECONDS must be a whole number"),
        ("PROXY_SSL_HEADER", "X-Forwarded-Proto", "must look like X-Forwarded-Proto=https"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be one of: line, json"),
    ],
)
def test_a_variable_that_cannot_be_read_says_so(name: str, value: str, cure: str) -> None:
    done = manage("check", **{name: value})
    assert done.returncode == 1
    assert cure in done.stderr


@pytest.fixture
def deployed(starting: Starting, tmp_path: Path) -> AsgiServer:
    env = {**production(), "STATIC_ROOT": str(tmp_path / "static")}
    del env["DATABASE_URL"], env["SECRET_KEY"], env["REDIS_URL"], env["CELERY_BROKER_URL"]
    gathered = manage("collectstatic", "--noinput", **env, SECRET_KEY="only-for-this-test")
    assert gathered.returncode == 0, gathered.stderr
    return starting(**{**env, "ALLOWED_HOSTS": "127.0.0.1"})


HTTPS = {"X-Forwarded-Proto": "https"}


def test_plain_http_is_sent_to_https_and_the_proxy_is_believed(deployed: AsgiServer) -> None:
    with httpx.Client(base_url=deployed.url) as client:
        answer = client.get("/accounts/login/")
        assert answer.status_code == 301
        assert answer.headers["location"].startswith("https://")

        answer = client.get("/accounts/login/", headers=HTTPS)
        assert answer.status_code == 200
        assert "max-age=" in answer.headers["strict-transport-security"]
        assert "Secure" in answer.headers["set-cookie"]

        assert client.get("/health/live/").status_code == 200


# --- static files -----------------------------------------------------------------------------


def test_static_files_are_compressed_and_kept_for_ever(deployed: AsgiServer) -> None:
    with httpx.Client(base_url=deployed.url, headers=HTTPS) as client:
        page = client.get("/accounts/login/").text
        (address,) = re.findall(r'href="(/static/workspace/style\.[0-9a-f]+\.css)"', page)
        with client.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join(answer.iter_raw())
        assert answer.headers["content-type"].startswith("text/css")
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        assert (
            gzip.decompress(raw)
            == (WORKSPACE / "workspace" / "static" / "workspace" / "style.css").read_bytes()
        )

        again = client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert client.get("/static/../workspace/settings.py").status_code == 404


def test_the_demo_serves_them_as_they_lie(asgi_server: AsgiServer) -> None:
    with httpx.Client(base_url=asgi_server.url) as client:
        for address in ("/static/workspace/style.css", "/static/admin/css/base.css"):
            answer = client.get(address)
            assert answer.status_code == 200
            assert "immutable" not in answer.headers["cache-control"]


# --- logs -------------------------------------------------------------------------------------


def logged(server: AsgiServer) -> list[dict[str, str]]:
    """Each line is JSON."""
    return [json.loads(line) for line in server.log_text().splitlines()]


def test_an_id_leads_from_the_answer_to_the_log(starting: Starting) -> None:
    server = starting(LOG_FORMAT="json")
    with httpx.Client(base_url=server.url) as client:
        given = client.get("/catalogue/", headers={REQUEST_ID: "given-by-a-proxy-1"})
        made = client.get("/people/export.csv")  # a sync view, in a thread
        other = client.get("/catalogue/")
    assert given.headers[REQUEST_ID] == "given-by-a-proxy-1"
    assert made.headers[REQUEST_ID] != other.headers[REQUEST_ID]
    server.stop()
    for answer, path in ((given, "/catalogue/"), (made, "/people/export.csv")):
        name = answer.headers[REQUEST_ID]
        lines = [line["message"] for line in logged(server) if line.get("request_id") == name]
        assert len(lines) == 1
        assert path in lines[0]


@pytest.mark.parametrize(
    "bad", ["short", "x" * 65, "white space", "semi;colon", "caf\u00e9-caf\u00e9", ""]
)
def test_an_id_that_could_do_harm_is_replaced(asgi_server: AsgiServer, bad: str) -> None:
    answer = httpx.get(f"{asgi_server.url}/", headers={REQUEST_ID: bad.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers[REQUEST_ID])


async def test_a_socket_has_one_too(starting: Starting) -> None:
    server = starting(LOG_FORMAT="json")
    async with member(server, "demo") as somebody:  # noqa: SIM117 - the socket is the second's
        async with somebody.socket("/rooms/general/"):
            pass
    server.stop()
    opened = [line for line in logged(server) if "WebSocket /rooms/general/" in line["message"]]
    assert len(opened) == 1
    assert re.fullmatch("[0-9a-f]{32}", opened[0]["request_id"])


def test_an_exception_is_one_line_with_its_traceback() -> None:
    code = (
        "import django, logging; django.setup()\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('it').exception('Broke \\n here \u2028')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=WORKSPACE,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "workspace.settings",
            "LOG_FORMAT": "json",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert told["level"] == "ERROR"
    assert "ZeroDivisionError" in told["exception"]
