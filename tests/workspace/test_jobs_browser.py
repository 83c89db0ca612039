"""The example's jobs as people see them, in headless Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.conftest import Starting
from tests.workspace.test_files_browser import file, fits
from tests.workspace.test_jobs import lines, some_sku
from tests.workspace.works import PAUSE

# What is sent is tested on both; what a browser makes of it is mostly the same.
on_one = pytest.mark.only_on("postgresql")

expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture
def asgi_server(starting: Starting) -> AsgiServer:
    """A site whose jobs rest after each step."""
    return starting(JOBS_PAUSE=PAUSE)


def table(rows: int) -> dict[str, object]:
    """The last row is not valid."""
    text = lines(*(f"{some_sku()},T,lamps,5,3," for _ in range(rows)), "x,T,nowhere,1,0,")
    return file("products.csv", text.encode())


async def test_an_import_is_followed_live_cancelled_and_begun_anew(
    browser: Browser, asgi_server: AsgiServer, tmp_path: Path
) -> None:
    async with person(browser, "demo", asgi_server.url, "/jobs/") as demo:
        page = demo.page
        await page.get_by_label("CSV file").set_input_files([table(15_000)])
        await page.get_by_role("button", name="Import").click()
        work = page.locator(".work")
        bar = page.get_by_role("progressbar")
        await expect(work).to_have_attribute("data-state", "running")
        # The page is not loaded again: the bar moves by itself.
        await expect(work.locator(".told")).to_have_text(re.compile(r"^[1-9]\d* rows$"))
        first = await bar.evaluate("bar => bar.value")
        await page.wait_for_function(
            "first => document.querySelector('progress').value > first", arg=first
        )
        await page.screenshot(path=tmp_path / "running.png", full_page=True)
        await page.reload()
        await expect(work.locator(".told")).to_have_text(re.compile(r"^[1-9]\d* rows$"))
        await page.get_by_role("button", name="Cancel").click()
        await expect(work).to_have_attribute("data-state", "cancelled")
        await page.get_by_role("button", name="Try again").press("Enter")
        await expect(work).to_have_attribute("data-state", "running")
        await expect(work).to_contain_text("attempt 2")
        await page.get_by_role("button", name="Cancel").click()
        await expect(work).to_have_attribute("data-state", "cancelled")

        await page.get_by_role("link", name="Jobs").first.click()
        await page.get_by_label("CSV file").set_input_files([table(300)])
        await page.get_by_role("button", name="Import").click()
        # What came of it takes the place of the bar, and is told.
        await expect(work).to_have_attribute("data-state", "done")
        await expect(page.get_by_role("row", name=re.compile("^302"))).to_contain_text(
            "nowhere"
        )
        await expect(bar).to_have_count(0)
        await page.emulate_media(color_scheme="dark")
        await page.set_viewport_size({"width": 320, "height": 640})
        assert await fits(page)
        await page.screenshot(path=tmp_path / "done.png", full_page=True)


@on_one
async def test_jobs_work_without_javascript(browser: Browser, asgi_server: AsgiServer) -> None:
    options = {"java_script_enabled": False}
    async with person(browser, "demo", asgi_server.url, "/jobs/", **options) as demo:
        page = demo.page
        await page.get_by_role("button", name="Export").click()
        again = page.get_by_role("link", name="Load this page again")
        await expect(again).to_be_visible()
        work = page.locator(".work")
        while await work.get_attribute("data-state") != "done":
            await again.click()
        async with page.expect_download() as download:
            await work.get_by_role("link", name=re.compile(r"^catalogue-.*\.csv$")).click()
        saved = await (await download.value).path()
        assert saved.read_text().startswith("sku,name,category,price,stock,description")
        await page.get_by_role("link", name="Jobs").first.click()
        await expect(page.locator(".work").first).to_have_attribute("data-state", "done")
