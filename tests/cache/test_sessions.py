"""Sessions in the cache, on the loop, and on real servers."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.test import override_settings

from tests.cache.conftest import BACKEND, told
from tests.project.urls import urlpatterns  # noqa: F401 - `project` serves them
from tests.servers import Serving, start

# Sessions are in Redis, or there and in a table like others.
pytestmark = pytest.mark.only_on("postgresql")

ENGINES = ["cache", "cached_db"]
PASSWORD = "a password"


def user():
    User.objects.create_user("ann", password=PASSWORD)


@pytest.fixture(params=ENGINES)
def engine(request):
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{request.param}"):
        yield request.param


async def test_they_are_read_and_written_without_a_thread(
    project,
    cache,
    redis_server,
    engine,
    started_threads,
):
    first = await project.get("/desk/visits/")
    assert first.text == "1"
    key = first.cookies["sessionid"]
    before = list(started_threads)
    for number in (2, 3, 4):
        again = await project.get("/desk/visits/", cookies={"sessionid": key})
        assert again.text == str(number)
    assert started_threads == before == []
    stored = told(redis_server.port, "KEYS", "*")
    assert key.encode() in stored
    assert await Session.objects.acount() == (1 if engine == "cached_db" else 0)


async def test_a_session_outlives_the_cache_if_it_is_in_the_database_too(
    project,
    cache,
    engine,
):
    key = (await project.get("/desk/visits/")).cookies["sessionid"]
    await cache.aclear()
    again = await project.get("/desk/visits/", cookies={"sessionid": key})
    assert again.text == ("2" if engine == "cached_db" else "1")


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
@pytest.mark.parametrize("engine_name", ENGINES)
def test_somebody_logs_in_on_a_server(db_clean, redis_server, tmp_path, server, engine_name):
    import httpx

    user()
    env = (
        ("ONLOOP_TEST_CACHE", json.dumps({"BACKEND": BACKEND, "LOCATION": redis_server.url})),
        ("ONLOOP_TEST_SESSIONS", engine_name),
    )
    running = start(Serving(server, env=env), tmp_path)
    try:
        with httpx.Client(base_url=running.url, timeout=90) as http:
            token = http.get("/desk/token/").text
            form = {"username": "ann", "password": PASSWORD, "csrfmiddlewaretoken": token}
            assert http.post("/desk/sign-in/", data=form).text == "ann"
            assert http.get("/desk/members-only/").text == "ann"
            assert http.get("/desk/me/").json()["awaited"] == "ann"
            assert http.get("/desk/me-sync/").text == "ann"  # in a thread, by Django's client
            for number in range(1, 20):
                assert http.get("/desk/visits/").text == str(number)
            key = http.cookies["sessionid"]
            assert key.encode() in told(redis_server.port, "KEYS", "*")
            clients = told(redis_server.port, "CLIENT", "LIST")
            # One of the loop, one of the threads, and the one that asks.
            assert len(re.findall(rb"\bid=", clients)) <= 3
            token = http.get("/desk/token/").text
            http.post("/desk/sign-out/", data={"csrfmiddlewaretoken": token})
            assert http.get("/desk/members-only/").status_code == 302
    finally:
        assert running.stop() == 0
    assert "Error" not in running.log_text()
    assert caches  # the test's own process never used it
