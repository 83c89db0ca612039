"""What all pages of the example have in common, in headless Chromium."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.places import try_too_often, visit
from tests.workspace.test_accounts import newcomer
from tests.workspace.test_files_browser import fits

PHONE = {"width": 390, "height": 800}
# One word, as long as the fields take.
LONG = {"first_name": 150, "last_name": 150, "about": 200}

pytestmark = pytest.mark.only_on("postgresql")
expect.set_options(timeout=DEADLINE_MS)


async def test_long_words_stay_within_a_phone(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    url = asgi_server.url
    async with (
        newcomer(asgi_server) as (name, new),
        person(browser, name, url, "/rooms/new/", viewport=PHONE) as somebody,
    ):
        form = {field: "W" * length for field, length in LONG.items()}
        answer = await new.client.post(
            "/accounts/profile/", data={**form, "csrfmiddlewaretoken": new.token}
        )
        assert answer.status_code == 302, answer.text
        page = somebody.page
        await page.get_by_label("Name").fill("W" * 60)
        await page.get_by_label("Topic").fill("W" * 100)
        await page.get_by_role("button", name="Create the room").click()
        await expect(page.get_by_role("heading", name="WWW")).to_be_visible()
        assert await fits(page)
        room = page.url
        await page.goto(f"{room}members/")
        await page.get_by_label("Add somebody").fill("W" * 150)
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("alert")).to_contain_text("Nobody here has")
        for path in ("", "/rooms/", "/accounts/profile/"):
            if path:
                await page.goto(url + path)
            assert await fits(page), path
        await page.goto(f"{url}/accounts/tokens/")
        await page.get_by_label("What it is for").fill("W" * 100)
        await page.get_by_role("button", name="Issue").click()
        await expect(page.locator(".secret")).to_be_visible()
        assert await fits(page)
        somebody.errors = [each for each in somebody.errors if "status of 400" not in each]


async def test_times_are_those_of_the_reader(browser: Browser, asgi_server: AsgiServer) -> None:
    url = asgi_server.url
    async with person(browser, "demo", url, "/orders/", timezone_id="Asia/Tokyo") as demo:
        time = demo.page.locator("main time").first
        said = await time.get_attribute("datetime")
        there = datetime.fromisoformat(said or "") + timedelta(hours=9)
        await expect(time).to_have_text(re.compile(there.strftime(r"^0?%-d \w+ %Y, %H:%M$")))
    async with person(browser, "demo", url, "/orders/", java_script_enabled=False) as demo:
        there = datetime.fromisoformat(said or "")
        time = demo.page.locator("main time").first
        await expect(time).to_have_text(re.compile(there.strftime(r"^%-d \w+ %Y, %H:%M$")))


async def test_so_is_the_time_at_which_passwords_are_looked_at_again(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with visit(browser, asgi_server.url, None, timezone_id="Asia/Tokyo") as page:
        await try_too_often(page)
        said = page.get_by_role("alert")
        there = datetime.fromisoformat(await the_time(page)) + timedelta(hours=9)
        await expect(said).to_contain_text(there.strftime("%H:%M"))
        await expect(said).not_to_contain_text("UTC")
    async with visit(browser, asgi_server.url, None, java_script_enabled=False) as page:
        await try_too_often(page)
        there = datetime.fromisoformat(await the_time(page))
        await expect(page.get_by_role("alert")).to_contain_text(f"{there:%H:%M} UTC")


async def the_time(page: Page) -> str:
    return await page.locator("main time").get_attribute("datetime") or ""


async def test_the_bar_of_an_error_holds_its_name_on_a_phone(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with visit(browser, asgi_server.url, None, viewport=PHONE) as page:
        await page.goto("/accounts/logout/")
        await expect(page.get_by_role("heading", level=1)).to_have_text(
            "That is done by a button"
        )
        bar, brand = page.locator(".bar"), page.locator(".brand")
        below = "element => element.getBoundingClientRect().bottom"
        assert await bar.evaluate(below) - await brand.evaluate(below) >= 8
