"""The example's operations page as its operators see it, in headless Chromium."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.conftest import HTTP_TIMEOUT_S, Starting
from tests.workspace.test_files_browser import fits
from tests.workspace.upstreams import Services

expect.set_options(timeout=DEADLINE_MS)

REQUESTS = 20


@pytest.fixture
def asgi_server(starting: Starting, services: Services) -> AsgiServer:
    return starting(**services.environment())


async def test_charts_and_tables_move_under_load(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with person(browser, "demo", asgi_server.url, "/operations/") as demo:
        page = demo.page
        await expect(page.locator("#link")).to_have_text("Live, every 2 seconds")
        charts = page.locator(".chart")
        await expect(charts).to_have_count(8)
        rate = charts.filter(has_text="Requests a second")
        cells = page.locator("#numbers tr", has_text="Answered so far").locator("td")
        before = sum(map(int, await cells.all_inner_texts()))
        async with httpx.AsyncClient(
            base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S
        ) as client:
            for _ in range(REQUESTS):
                assert (await client.get("/")).status_code == 200
        await page.wait_for_function(
            "least => [...document.querySelectorAll('#numbers tbody tr')]"
            ".filter(row => row.textContent.includes('Answered so far'))"
            ".flatMap(row => [...row.querySelectorAll('td')])"
            ".reduce((sum, cell) => sum + Number(cell.textContent), 0) >= least",
            arg=before + REQUESTS,
        )
        await expect(rate.locator("polyline").first).to_have_attribute(
            "points", re.compile(r"^\S+ \S+")
        )
        await expect(rate.locator(".peak")).not_to_have_text("highest 0.0")
        await expect(rate.locator("svg")).to_have_attribute(
            "aria-label", re.compile("^Requests a second in the last two minutes: .* now")
        )
        await page.set_viewport_size({"width": 390, "height": 800})
        assert await fits(page)


async def test_one_process_has_a_line_for_each_percentile(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with person(browser, "demo", asgi_server.url, "/operations/") as demo:
        latency = demo.page.locator(".chart", has_text="Latency")
        await expect(latency.locator(".legend li")).to_have_text(["p50", "p95", "p99"])


async def test_the_page_says_when_it_is_not_live_and_comes_back(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with person(browser, "demo", asgi_server.url, "/operations/") as demo:
        link = demo.page.locator("#link")
        await expect(link).to_have_text("Live, every 2 seconds")
        await demo.page.context.set_offline(True)
        await expect(link).to_have_text(re.compile("^Not live"))
        await demo.page.context.set_offline(False)
        await expect(link).to_have_text("Live, every 2 seconds")


async def test_without_javascript_the_tables_say_it_all(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with person(
        browser, "demo", asgi_server.url, "/operations/", java_script_enabled=False
    ) as demo:
        await expect(demo.page.locator("#numbers tbody tr")).to_have_count(20)
        await expect(demo.page.locator("#charts")).to_be_hidden()
        await demo.page.get_by_role("link", name="Refresh").click()
        await expect(demo.page.get_by_role("heading", name="Each process")).to_be_visible()
