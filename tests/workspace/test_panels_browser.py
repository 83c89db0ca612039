"""The example's panels as people see them, in headless Chromium."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS
from tests.workspace.conftest import Starting
from tests.workspace.test_panels import AGE, BROKEN
from tests.workspace.upstreams import HEADLINES, Services

# Panels ask no database.
pytestmark = pytest.mark.only_on("postgresql")

expect.set_options(timeout=DEADLINE_MS)

OUT_OF_ORDER = "It is out of order (status 500)."


@pytest.fixture
def asgi_server(starting: Starting, services: Services) -> AsgiServer:
    return starting(**services.environment())


@asynccontextmanager
async def page_of(browser: Browser, server: AsgiServer, **options: Any) -> AsyncIterator[Page]:
    """The page, with the browser's clock at the test's hand; no script of it fails."""
    context = await browser.new_context(**options)
    context.set_default_timeout(DEADLINE_MS)
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type == "error" and "ERR_" not in message.text
            else None
        ),
    )
    await page.clock.install()
    await page.goto(f"{server.url}/panels/")
    yield page
    assert errors == []
    await context.close()


async def sees(page: Page, name: str, state: str, problem: str | re.Pattern[str] = "") -> None:
    panel = page.locator(f"[data-name={name}]")
    await expect(panel).to_have_attribute("data-state", state)
    await expect(panel.locator(".state")).to_have_text(state)
    await expect(panel.locator(".problem")).to_have_text(problem)
    headline = "" if state == "missing" else HEADLINES[name]
    await expect(panel.locator(".headline")).to_have_text(headline)


async def fits(page: Page) -> bool:
    """Nothing is wider than the window."""
    return await page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


async def test_the_page_refreshes_itself_and_tells_what_fails(
    browser: Browser, asgi_server: AsgiServer, services: Services, tmp_path: Path
) -> None:
    services.rates.plan = "/status/500"
    async with page_of(browser, asgi_server) as page:
        summary = page.get_by_role("status")
        refresh = page.get_by_role("button", name="Refresh")
        await sees(page, "weather", "current")
        await sees(page, "rates", "missing", OUT_OF_ORDER)
        await expect(summary).to_have_text("Current: 2 of 3 panels. Not: Exchange rates.")
        services.plan()
        await page.clock.run_for(15_000)
        await expect(summary).to_have_text("All 3 panels are current.")
        for name in HEADLINES:
            await sees(page, name, "current")
        await page.screenshot(path=tmp_path / "light.png")

        await page.get_by_label("every 15 seconds").uncheck()
        services.news.plan, services.rates.plan = "/status/500", "/cut"
        asked = services.asked()
        await page.clock.run_for(60_000)
        assert services.asked() == asked
        await refresh.press("Space")
        await sees(page, "news", "old", OUT_OF_ORDER)
        await sees(page, "rates", "old", BROKEN)
        await expect(page.locator("[data-name=rates] .note")).to_have_text(AGE)
        await expect(summary).to_have_text("Current: 1 of 3 panels. Not: Exchange rates, News.")
        await page.emulate_media(color_scheme="dark")
        assert await fits(page)
        await page.screenshot(path=tmp_path / "dark.png")
        await page.set_viewport_size({"width": 320, "height": 640})
        assert await fits(page)
        await page.screenshot(path=tmp_path / "narrow.png", full_page=True)

        assert asgi_server.stop() == 0
        await refresh.click()
        await expect(summary).to_have_text(
            "This site does not answer. Nothing below is current."
        )
        await sees(page, "weather", "old")
        await expect(page.locator("[data-name=rates] .note")).not_to_contain_text(",")


async def test_all_is_there_without_javascript(
    browser: Browser, asgi_server: AsgiServer, services: Services, tmp_path: Path
) -> None:
    options = {"java_script_enabled": False, "viewport": {"width": 360, "height": 640}}
    services.weather.plan = "/status/500"
    async with page_of(browser, asgi_server, color_scheme="dark", **options) as page:
        await sees(page, "weather", "missing", OUT_OF_ORDER)
        await sees(page, "news", "current")
        await expect(page.get_by_label("every 15 seconds")).to_be_hidden()
        await page.screenshot(path=tmp_path / "plain.png", full_page=True)
        services.plan()
        await page.get_by_role("link", name="Refresh").click()
        await sees(page, "weather", "current")
