"""The example's panels: whatever the three services do, the page comes and says so."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.db.eventually import eventually
from tests.servers import AsgiServer
from tests.workspace.conftest import HTTP_TIMEOUT_S, Starting
from tests.workspace.upstreams import GOOD, HEADLINES, Services

# Panels ask no database.
pytestmark = pytest.mark.only_on("postgresql")

LATE = r"It has not answered within \d+\.\d seconds\."
BROKEN = "The connection to it broke off."
OUT_OF_ORDER = "It is out of order (status 503)."
NONSENSE = "Its answer makes no sense."


@pytest.fixture
def asgi_server(starting: Starting, services: Services) -> AsgiServer:
    """A site of the test's own: it remembers nothing of others."""
    return starting(**services.environment())


async def with_late_ones(
    starting: Starting,
    services: Services,
    work: Callable[[httpx.AsyncClient, int], Awaitable[bool]],
) -> None:
    """`work(client, deadline_s)` on sites that wait for longer and longer, until it says True.

    That is when those that answer have done so in time, however busy the machine is.
    """
    for deadline_s in (2, 12, 50):
        server = starting(**services.environment(), PANELS_DEADLINE=str(deadline_s))
        async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
            if await work(client, deadline_s):
                return
    pytest.fail("Those that answer were late, too.")


Shown = dict[str, dict[str, Any]]


async def shown(client: httpx.AsyncClient) -> Shown:
    answer = await client.get("/panels/data/")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return {panel["name"]: panel for panel in answer.json()["panels"]}


def states(panels: Shown) -> list[str]:
    return [panels[name]["state"] for name in HEADLINES]


def headline(panel: dict[str, Any]) -> str | None:
    return panel["reading"] and panel["reading"]["headline"]


async def test_three_services_are_asked_at_once_and_shown_in_a_page_and_as_json(
    ahttp: httpx.AsyncClient, services: Services
) -> None:
    services.plan("/hold")
    asked = asyncio.create_task(ahttp.get("/panels/data/"))
    # None is answered before all have been asked.
    await eventually(lambda: services.under_way() == 3)
    for service in services.all:
        service.release()
    told = (await asked).json()
    assert told["summary"] == "All 3 panels are current."
    panels = {panel["name"]: panel for panel in told["panels"]}
    assert {name: headline(panel) for name, panel in panels.items()} == HEADLINES
    assert panels["rates"]["reading"]["facts"] == [
        {"name": "GBP", "value": "0.8600"},
        {"name": "JPY", "value": "1,162.5000"},
    ]
    page = await ahttp.get("/panels/")
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert page.text.count('data-state="current"') == 3
    assert "&lt;b&gt;Bridge&lt;/b&gt; &amp; tunnel open" in page.text
    assert "<b>Bridge" not in page.text
    assert services.asked() == 6


async def test_what_fails_is_told_and_the_others_are_shown(
    starting: Starting, services: Services
) -> None:
    services.rates.plan = "/hang"
    services.news.plan = "/status/503"

    async def work(client: httpx.AsyncClient, deadline_s: int) -> bool:
        services.rates.requests.clear()
        told = (await client.get("/panels/data/")).json()
        weather, rates, news = told["panels"]
        if re.fullmatch(LATE, weather["problem"] or news["problem"]):
            return False
        assert told["summary"] == "Current: 1 of 3 panels. Not: Exchange rates, News."
        assert (weather["state"], weather["problem"]) == ("current", "")
        assert rates["state"] == "missing"
        assert re.fullmatch(LATE, rates["problem"])
        assert len(services.rates.requests) == 1
        assert (news["state"], news["problem"]) == ("missing", OUT_OF_ORDER)
        assert rates["reading"] is news["reading"] is None
        assert (rates["note"], rates["at"], rates["age_s"]) == ("", None, None)
        return True

    await with_late_ones(starting, services, work)
    await eventually(lambda: services.under_way() == 0)


async def test_the_page_tells_the_same(ahttp: httpx.AsyncClient, services: Services) -> None:
    services.rates.plan = "/drop"
    services.news.plan = "/status/503"
    page = (await ahttp.get("/panels/")).text
    for text in (HEADLINES["weather"], OUT_OF_ORDER, BROKEN):
        assert text in page
    assert page.count('data-state="missing"') == 2


AGE = re.compile(r"From \d\d:\d\d:\d\d UTC, (just now|\d+ (second|minute)s? ago)\.")


FAILURES: dict[str | bytes, str] = {
    "/status/404": "It does not answer this site (status 404).",
    "/redirect?to=/ok": "It does not answer this site (status 302).",
    "/status/500": "It is out of order (status 500).",
    "/drop": BROKEN,
    "/cut": BROKEN,
    "/endless": NONSENSE,
    gzip.compress(json.dumps(GOOD["news"]).encode()): NONSENSE,
    b"": NONSENSE,
    b"\xff\xfe\x00": NONSENSE,
    b"[" * 60_000: NONSENSE,
    b'{"items": [{"at": "09:00", "title": 5}]}': NONSENSE,
    rb'{"items": [{"at": "09:00", "title": "\ud800"}]}': NONSENSE,
}


async def test_what_was_said_last_is_shown_with_its_age(
    ahttp: httpx.AsyncClient, services: Services
) -> None:
    for plan, words in FAILURES.items():
        services.news.plan = services.news.good
        last = (await shown(ahttp))["news"]
        assert (last["state"], last["problem"]) == ("current", "")
        services.news.plan = plan
        panels = await shown(ahttp)
        assert states(panels) == ["current", "current", "old"], (plan, panels)
        news = panels["news"]
        assert news["problem"] == words, plan
        assert (news["reading"], news["at"]) == (last["reading"], last["at"])
        assert AGE.fullmatch(news["note"])
        assert news["age_s"] >= 0
    page = (await ahttp.get("/panels/")).text
    assert page.count('data-state="old"') == 1
    assert "<b>" not in page
    await eventually(lambda: services.under_way() == 0)


@pytest.mark.parametrize("plan", ["/trickle", "/stuck"])
async def test_what_a_late_one_said_last_is_shown_with_its_age(
    starting: Starting, services: Services, plan: str
) -> None:
    async def work(client: httpx.AsyncClient, deadline_s: int) -> bool:
        services.plan()
        last = await shown(client)
        services.news.plan = plan
        panels = await shown(client)
        if states(last) + states(panels)[:2] != ["current"] * 5:
            return False
        news = panels["news"]
        assert news["state"] == "old"
        assert re.fullmatch(LATE, news["problem"])
        assert (news["reading"], news["at"]) == (last["news"]["reading"], last["news"]["at"])
        assert AGE.fullmatch(news["note"])
        assert news["age_s"] >= deadline_s
        return True

    await with_late_ones(starting, services, work)
    await eventually(lambda: services.under_way() == 0)


async def test_a_service_that_is_not_there_is_told(
    starting: Starting, services: Services
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else will
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        server = starting(**{**services.environment(), "NEWS_URL": nowhere})
        async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
            panels = await shown(client)
    assert states(panels) == ["current", "current", "missing"]
    assert panels["news"]["problem"] == "It cannot be reached."


async def test_a_service_that_goes_on_failing_is_left_alone_and_only_that_one(
    ahttp: httpx.AsyncClient, services: Services
) -> None:
    services.news.plan = "/status/500"
    for _ in range(10):
        assert (await shown(ahttp))["news"]["problem"] == "It is out of order (status 500)."
    panels = await shown(ahttp)
    assert panels["news"]["problem"].startswith("It has failed several times in a row")
    assert states(panels) == ["current", "current", "missing"]
    assert [len(service.requests) for service in services.all] == [11, 11, 10]


async def test_when_all_fail_there_is_a_page_and_no_secret_in_the_log(
    ahttp: httpx.AsyncClient, asgi_server: AsgiServer, services: Services
) -> None:
    services.plan("/status/401")
    told = (await ahttp.get("/panels/data/")).json()
    assert told["summary"] == ("Current: 0 of 3 panels. Not: Weather, Exchange rates, News.")
    page = await ahttp.get("/panels/")
    assert page.status_code == 200
    assert page.text.count("It does not answer this site (status 401).") == 3
    log = asgi_server.log_text()
    assert log.count("The panel 'weather' is not current") == 2
    assert "a-secret" not in log + page.text + str(told)
    services.plan()
    assert states(await shown(ahttp)) == ["current"] * 3


@pytest.mark.parametrize("path", ["/panels/", "/panels/data/"])
async def test_who_leaves_ends_what_was_asked_for_them(
    starting: Starting, services: Services, path: str
) -> None:
    server = starting(**services.environment())
    # Bytes keep coming, so no time-out ends it while it is waited for here.
    services.plan("/trickle")
    async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
        asked = asyncio.create_task(client.get(path))
        await eventually(lambda: services.under_way() == 3)
        asked.cancel()
        await asyncio.wait({asked})
        await eventually(lambda: services.under_way() == 0)
        assert services.asked() == 3
        services.plan()
        assert states(await shown(client)) == ["current"] * 3


async def test_other_methods_are_refused_and_nobody_is_asked(
    ahttp: httpx.AsyncClient, services: Services
) -> None:
    assert (await ahttp.options("/panels/")).status_code == 405
    refused = await ahttp.post("/panels/data/", json={})
    assert (refused.status_code, refused.json()["error"]["status"]) == (405, 405)
    unknown = await ahttp.get("/panels/data/other/")
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (404, 404)
    assert services.asked() == 0


async def test_the_demos_own_services_live_as_long_as_the_site_and_need_no_proxy(
    starting: Starting,
) -> None:
    nowhere = "http://127.0.0.1:9"
    proxies = {"http_proxy": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": "example.org"}
    server = starting(**proxies, PANELS_DEADLINE="10")
    async with httpx.AsyncClient(
        base_url=server.url, timeout=HTTP_TIMEOUT_S, trust_env=False
    ) as client:
        panels = await shown(client)
        # Which of these depends on the clock.
        problems = ["", r"It is out of order \(status 503\)\.", NONSENSE, LATE]
        assert re.fullmatch("|".join(problems), panels["news"]["problem"])
        assert states(panels)[:2] == ["current", "current"]
    log = server.log_text()
    ports = [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)/\w", log)]
    assert len(set(ports)) == 3
    assert server.stop() == 0
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_a_slow_client_of_the_demos_own_services_does_not_hold_up_the_end(
    starting: Starting,
) -> None:
    server = starting()
    ports = re.findall(r"http://127\.0\.0\.1:(\d+)/\w", server.log_text())
    idle = [socket.create_connection(("127.0.0.1", int(port)), timeout=5) for port in ports]
    assert len(idle) == 3
    assert server.stop() == 0
    for connection in idle:
        with connection:
            assert connection.recv(1) == b""
