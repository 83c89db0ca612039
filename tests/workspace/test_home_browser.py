"""The example's start page as people see it, in headless Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.conftest import Starting
from tests.workspace.members import member
from tests.workspace.test_jobs_browser import table
from tests.workspace.works import PAUSE

expect.set_options(timeout=DEADLINE_MS)
ROOM = "/rooms/general/"


async def counted(page: Page) -> int:
    return int(await page.locator("[data-unread-messages] .number").inner_text() or 0)


async def read_all(page: Page, url: str) -> None:
    """From 100 on there is no number to count from, and other tests have written before."""
    await page.goto(f"{url}/rooms/")
    rooms = page.locator("[data-slug] a")
    for room in await rooms.evaluate_all("links => links.map((link) => link.href)"):
        await page.goto(room)
    await page.goto(f"{url}/")


async def test_the_bar_of_each_page_counts_what_others_write(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    url = asgi_server.url
    async with member(asgi_server, "robin") as robin:
        async with person(browser, "demo", url, "/") as demo:
            await read_all(demo.page, url)
            total = demo.page.locator("[data-unread-messages] .number")
            before = await counted(demo.page)
            await expect(demo.unread("general")).to_be_hidden()
            async with robin.socket(ROOM) as socket:
                await socket.post("One")
                await socket.post("Two")
            await expect(total).to_have_text(str(before + 2))
            await expect(demo.unread("general").locator(".number")).to_have_text("2")
            # Read in another tab.
            other = await demo.page.context.new_page()
            await other.goto(f"{url}{ROOM}")
            await expect(total).to_have_text(str(before))
            await expect(demo.unread("general")).to_be_hidden()
            await other.close()
            await demo.page.goto(f"{url}/catalogue/")
            await expect(total).to_be_hidden()
            plain = await demo.page.locator(".bar").bounding_box()
            async with robin.socket(ROOM) as socket:
                await socket.post("Three")
            await expect(total).to_be_visible()
            assert await demo.page.locator(".bar").bounding_box() == plain
        async with person(browser, "demo", url, "/", java_script_enabled=False) as demo:
            assert await counted(demo.page) == before + 1
            assert await demo.unread("general").locator(".number").inner_text() == "1"


@pytest.mark.only_on("postgresql")
async def test_a_job_under_way_ends_before_ones_eyes(
    browser: Browser, starting: Starting
) -> None:
    server = starting(JOBS_PAUSE=PAUSE)
    async with person(browser, "demo", server.url, "/jobs/") as demo:
        await demo.page.get_by_label("CSV file").set_input_files([table(15_000)])
        await demo.page.get_by_role("button", name="Import").click()
        await expect(demo.page.locator(".work")).to_have_attribute("data-state", "running")
        other = await demo.page.context.new_page()
        await other.goto(f"{server.url}/")
        work = other.get_by_role("region", name="Jobs under way").locator(".work")
        await expect(work).to_have_attribute("data-state", "running")
        await demo.page.get_by_role("button", name="Cancel").click()
        await expect(work).to_have_attribute("data-state", "cancelled")
        await other.reload()
        await expect(other.get_by_text("Nothing runs for you now.")).to_be_visible()
