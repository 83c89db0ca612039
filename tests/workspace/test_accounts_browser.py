"""Accounts and the bell as people see them, in headless Chromium."""

from __future__ import annotations

import re
import uuid

from playwright.async_api import Browser, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.conftest import PASSWORD
from tests.workspace.members import member
from tests.workspace.test_accounts import address_of, change, newcomer

expect.set_options(timeout=DEADLINE_MS)


async def test_somebody_signs_up_and_hears_of_a_new_role(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    name = f"typed-{uuid.uuid4().hex[:8]}"
    context = await browser.new_context()
    context.set_default_timeout(DEADLINE_MS)
    page = await context.new_page()
    await page.goto(f"{asgi_server.url}/accounts/login/")
    await page.get_by_role("main").get_by_role("link", name="Sign up").click()
    await page.get_by_label("Username").fill(name)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_label("Password confirmation").fill("something else")
    await page.keyboard.press("Enter")
    wrong = page.get_by_label("Password confirmation")
    await expect(wrong).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await wrong.fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator(".told").first).to_contain_text(f"Welcome, {name}.")
    bell = page.get_by_role("link", name=re.compile("Notices"))
    await expect(bell).to_have_accessible_name("Notices 1 unread")

    async with member(asgi_server, "demo") as demo:
        assert await change(demo, await address_of(demo, name), "guest") == 302
    await expect(bell).to_have_accessible_name("Notices 2 unread")
    await expect(page.locator("#toast")).to_contain_text("Your role is Guest now.")
    await bell.click()
    await page.get_by_role("button", name="Mark all read").click()
    await expect(page.get_by_text("You have read everything.")).to_be_visible()
    await expect(bell).to_have_accessible_name("Notices")
    await context.close()


async def test_the_bell_rings_on_each_page_and_the_list_offers_what_is_new(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with (
        newcomer(asgi_server) as (name, _),
        member(asgi_server, "demo") as demo,
        person(browser, name, asgi_server.url, "/catalogue/") as shopping,
        person(browser, name, asgi_server.url, "/notices/") as reading,
    ):
        for page in (shopping.page, reading.page):
            await expect(page.locator(".bell .number")).to_have_text("1")
        assert await change(demo, await address_of(demo, name), "guest") == 302
        for page in (shopping.page, reading.page):
            await expect(page.locator(".bell .number")).to_have_text("2")
        await reading.page.get_by_role("link", name="There are new notices").click()
        await expect(reading.page.locator(".notices .unread")).to_have_count(2)
        await reading.page.get_by_role("link", name="Welcome!").click()
        await reading.page.wait_for_url("**/accounts/profile/")
        await expect(shopping.page.locator(".bell .number")).to_have_text("1")


async def test_accounts_work_without_javascript(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    options = {"java_script_enabled": False, "viewport": {"width": 360, "height": 640}}
    async with (
        newcomer(asgi_server) as (name, _),
        person(browser, name, asgi_server.url, "/accounts/tokens/", **options) as somebody,
    ):
        page = somebody.page
        await page.get_by_label("What it is for").fill("Till")
        await page.get_by_label("Expires").select_option("Never")
        await page.get_by_role("button", name="Issue").click()
        await expect(page.locator(".secret")).to_contain_text("onl_")
        await page.get_by_role("button", name="Revoke Till").click()
        await expect(page.locator(".told").first).to_contain_text("“Till” is revoked.")
        await page.get_by_role("link", name="Profile", exact=True).click()
        await page.get_by_label("About", exact=True).fill("Tills and tea.")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_label("About", exact=True)).to_have_value("Tills and tea.")
        await page.get_by_role("link", name=re.compile("Notices")).click()
        await page.get_by_role("button", name="Mark all read").click()
        await expect(page.locator(".notices .unread")).to_have_count(0)
