"""`onloop.health` on real servers, over sockets: a database that comes, goes, and is full."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time

import httpx
import pytest

from tests.asgi.test_servers_all import on_every_server
from tests.conftest import HTTP_TIMEOUT_S
from tests.database import ALIASES
from tests.postgres import PostgresServer
from tests.servers import Serving, start


@on_every_server
def test_it_is_live_and_ready(http):
    assert http.get("/health/live/").json() == {"status": "ok"}
    answer = http.get("/health/ready/")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def until(condition, what):
    deadline = time.monotonic() + HTTP_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


@contextlib.contextmanager
def served(serving, folder):
    server = start(serving, folder)
    try:
        with httpx.Client(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
            yield server, client
    finally:
        server.stop()


@pytest.mark.only_on("postgresql")
def test_it_starts_without_its_database_and_is_ready_when_that_comes(database, tmp_path):
    postgres = PostgresServer()
    place = postgres.place
    env = (("ONLOOP_TEST_HOST", place.host), ("ONLOOP_TEST_PORT", str(place.port)))
    try:
        with served(Serving(env=env), tmp_path) as (server, client):
            assert client.get("/health/live/").status_code == 200
            answer = client.get("/health/ready/")
            assert answer.status_code == 503
            assert answer.json()["databases"] == dict.fromkeys(ALIASES, "unavailable")
            assert place.host not in answer.text
            postgres.start()
            until(lambda: client.get("/health/ready/").status_code == 200, "the database")
            postgres.stop()
            until(lambda: client.get("/health/ready/").status_code == 503, "its end")
            assert client.get("/health/live/").status_code == 200
            assert "Not ready: the database 'default'" in server.new_log()
    finally:
        postgres.stop()


@pytest.mark.only_on("postgresql")
def test_a_loaded_server_is_live_and_ready(db_clean, pg_activity, tmp_path):
    """Its pool is full, its slots are taken, and its queue is full."""
    env = (
        ("ONLOOP_TEST_DATABASE_OPTIONS", json.dumps({"pool": {"max_size": 2}})),
        ("ONLOOP_TEST_ONLOOP", json.dumps({"MAX_REQUESTS": 2, "MAX_QUEUE": 0})),
    )
    with served(Serving(env=env), tmp_path) as (server, client):
        sleepers = [threading.Thread(target=_sleeps, args=(server.url,)) for _ in range(2)]
        for sleeper in sleepers:
            sleeper.start()
        until(lambda: len(pg_activity("pg_sleep(60)", state="active")) == 2, "the load")
        assert client.get("/ping/").status_code == 503
        assert client.get("/health/live/").status_code == 200
        answer = client.get("/health/ready/")
        assert (answer.status_code, answer.json()["databases"]["default"]) == (200, "busy")
        with db_clean.connect() as outsider:
            outsider.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
            )
        for sleeper in sleepers:
            sleeper.join(HTTP_TIMEOUT_S)


def _sleeps(url):
    with contextlib.suppress(httpx.TransportError):
        httpx.get(f"{url}/desk/sleeps-in-the-database/", timeout=HTTP_TIMEOUT_S)


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian"])
def test_a_server_that_is_told_to_end_is_no_longer_ready(database, tmp_path, name):
    """While it finishes a request that is under way."""
    server = start(Serving(name), tmp_path)
    try:
        with httpx.stream(
            "GET", f"{server.url}/desk/until-you-leave/", timeout=HTTP_TIMEOUT_S
        ) as held:
            parts = held.iter_text()  # kept: it closes the connection when it goes
            assert next(parts) == "open"
            until(lambda: _is_ready(server.url), "its start")
            server.process.terminate()
            # Twice: a server that is slow for once is not at its end.
            until(lambda: not _is_ready(server.url) and not _is_ready(server.url), "its end")
            assert server.process.poll() is None
        server.process.wait(HTTP_TIMEOUT_S)
    finally:
        if server.process.poll() is None:
            os.killpg(server.pid, 9)


def _is_ready(url):
    """Whether a probe of a connection of its own is answered, and with 200.

    Hypercorn lets it connect, and then serves it no more.
    """
    try:
        return httpx.get(f"{url}/health/ready/", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
