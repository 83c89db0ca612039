"""Who sends many tokens that are not valid is told to wait, and nobody else is."""

from __future__ import annotations

import types

import pytest
from django.core.cache import cache
from django.test import RequestFactory, override_settings

from onloop import bridge
from onloop.tokens import failures
from tests.fresh import project as fresh_project

BAD = {"authorization": "Bearer onl_bad"}
LIMIT = {"BEARER_MAX_FAILURES": 3, "BEARER_FAILURE_WINDOW": 60}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time by which windows are told; half a minute of one has passed."""
    now = types.SimpleNamespace(value=60 * 1000 + 30.0)
    monkeypatch.setattr(failures, "time", types.SimpleNamespace(time=lambda: now.value))
    return now


@pytest.fixture
def limited(project):
    project.configure(ONLOOP=LIMIT)
    return project


async def test_after_so_many_failures_a_client_is_told_to_wait(limited, ask, ada):
    assert [(await ask(headers=BAD)).status for _ in range(5)] == [401, 401, 401, 429, 429]
    answer = await ask(headers={"accept": "application/json", **BAD})
    assert answer.headers["retry-after"] == "30"
    assert answer.json()["status"] == 429
    assert answer.challenge is None


async def test_a_valid_token_is_let_in_meanwhile(limited, ask, ada):
    for _ in range(5):
        await ask(headers=BAD)
    assert (await ask(headers=ada.bearer)).status == 200
    assert (await ask(headers=BAD)).status == 429


async def test_what_is_no_guess_is_not_counted(limited, ask, ada):
    for _ in range(5):
        assert (await ask()).status == 401
        assert (await ask(headers={"authorization": "Bearer"})).status == 400
        assert (await ask(headers=ada.bearer)).status == 200
    assert (await ask(headers=BAD)).status == 401


async def test_the_next_stretch_of_time_begins_at_nought(limited, ask, ada, clock):
    for _ in range(4):
        await ask(headers=BAD)
    clock.value += 29
    assert (await ask(headers=BAD)).headers["retry-after"] == "1"
    clock.value += 1
    assert (await ask(headers=BAD)).status == 401


async def test_nought_is_no_limit(project, ask, ada):
    project.configure(ONLOOP={"BEARER_MAX_FAILURES": 0})
    assert {(await ask(headers=BAD)).status for _ in range(30)} == {401}


async def test_each_address_has_a_count_of_its_own(limited):
    async def status(address):
        exchange = await limited.get("/async/", headers=BAD.items(), client=(address, 1))
        return exchange.status

    assert [await status("192.0.2.1") for _ in range(4)] == [401, 401, 401, 429]
    assert await status("192.0.2.2") == 401


async def test_a_cache_that_is_away_limits_nobody(limited, ask, ada, caplog):
    nowhere = {"default": {"BACKEND": "tests.tokens.test_failures.Away"}}
    with override_settings(CACHES=nowhere):
        assert {(await ask(headers=BAD)).status for _ in range(5)} == {401}
    assert failures.AWAY in caplog.text


class Away:
    """A cache whose server does not answer."""

    def __init__(self, location, params):
        pass

    def add(self, *args, **kwargs):
        raise ConnectionRefusedError

    async def aadd(self, *args, **kwargs):
        raise ConnectionRefusedError

    def close(self, **kwargs):
        pass


async def test_a_counter_that_is_thrown_away_is_no_error(limited, monkeypatch):
    request = RequestFactory().get("/")
    assert failures.count(request) == 0
    monkeypatch.setattr(cache, "add", lambda *args: False)
    cache.clear()
    assert failures.count(request) == 0

    async def aadd(*args):
        return False

    monkeypatch.setattr(cache, "aadd", aadd)
    assert await failures.acount(request) == 0


async def test_both_sides_count_in_the_same_place(limited):
    request = RequestFactory().get("/")
    counts = [await bridge.run(failures.count, request), await failures.acount(request)]
    assert [*counts, failures.count(request)] == [0, 0, 0]
    assert await failures.acount(request) == failures.count(request) == 30


def test_a_counter_is_gone_with_its_time(limited):
    request = RequestFactory().get("/")
    failures.count(request)
    window = failures.Window(request)
    assert window.timeout_s == 31
    assert cache.get(window.key) == 1
    assert "127.0.0.1" not in window.key


# --- whose failure it is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_address_is_one_client_or_a_network_of_its_own(address, client):
    assert failures.client_of(RequestFactory().get("/", REMOTE_ADDR=address)) == client


def by_header(request):
    return request.headers.get("x-client")


def test_a_function_may_name_the_client():
    hook = {"BEARER_CLIENT_ADDRESS": "tests.tokens.test_failures.by_header"}
    request = RequestFactory().get("/", headers={"x-client": "192.0.2.7"})
    with override_settings(ONLOOP=hook):
        assert failures.client_of(request) == "192.0.2.7"
        assert failures.client_of(RequestFactory().get("/")) == ""


# --- several processes ------------------------------------------------------------------------

WORKER = """
from django.test import Client
from django.urls import path
import types, sys
sys.modules["addresses"] = types.ModuleType("addresses")
sys.modules["addresses"].urlpatterns = []
bad = {"authorization": "Bearer onl_bad"}
print(*(Client().get("/", headers=bad).status_code for _ in range(3)))
"""


def test_workers_with_one_cache_count_together(tmp_path):
    def worker():
        return fresh_project(
            WORKER,
            apps=("onloop", "django.contrib.auth", "django.contrib.contenttypes",
                  "onloop.tokens"),
            MIDDLEWARE=["onloop.middleware.BearerTokenMiddleware"],
            ROOT_URLCONF="addresses",
            ALLOWED_HOSTS=["testserver"],
            ONLOOP={"BEARER_MAX_FAILURES": 4, "BEARER_FAILURE_WINDOW": 86400},
            CACHES={
                "default": {
                    "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                    "LOCATION": str(tmp_path),
                }
            },
        )  # fmt: skip

    assert worker() == "401 401 401"
    assert worker() == "401 429 429"
