"""Mentions, attachments and links as people see them, in headless Chromium."""

from __future__ import annotations

import re
import uuid

from playwright.async_api import Browser, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.commands import account
from tests.workspace.test_files import picture
from tests.workspace.test_files_browser import file, fits

GENERAL = "/rooms/general/"

expect.set_options(timeout=DEADLINE_MS)


async def test_a_mention_with_an_attachment_arrives_live(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    url, mark = asgi_server.url, uuid.uuid4().hex
    async with (
        person(browser, "demo", url, GENERAL, color_scheme="dark") as demo,
        person(browser, "robin", url, GENERAL) as robin,
    ):
        await expect(robin.present).to_have_text("Here now: demo, robin")
        # A name by its first letters, chosen with the keyboard.
        await robin.text.press_sequentially("@d")
        await expect(robin.page.get_by_role("option", name="demo")).to_be_visible()
        await robin.text.press("Tab")
        await expect(robin.text).to_have_value("@demo ")
        await robin.text.press_sequentially(mark)
        await robin.page.locator("#attach summary").click()
        await robin.page.get_by_label("Upload").set_input_files(
            [file(f"{mark}.png", picture(400, 200))]
        )
        await expect(robin.page.locator("#chosen")).to_contain_text(f"{mark}.png")
        await expect(robin.text).to_be_focused()
        await robin.text.press("Enter")
        for somebody in (demo, robin):
            shown = somebody.message(mark)
            await expect(shown.locator(".mention")).to_have_text("@demo")
            await expect(shown.locator(".kept")).to_contain_text(f"{mark}.png")
            # It comes when a job has made it.
            await expect(shown.locator("img")).to_be_visible()
        await expect(demo.message(mark).locator(".mention")).to_have_class("mention me")
        await expect(robin.message(mark).locator(".mention")).to_have_class("mention")

        await demo.message(mark).get_by_role("link", name=f"{mark}.png").click()
        preview = demo.page.get_by_role("img", name="Preview of")
        await expect(preview).to_be_visible()
        await expect(preview).to_have_js_property("naturalWidth", 400)
        async with demo.page.expect_download() as download:
            await demo.page.get_by_role("link", name="Download").click()
        assert (await download.value).suggested_filename == f"{mark}.png"

        await demo.page.goto(f"{url}{GENERAL}")
        await robin.page.goto(f"{url}/files/")
        mine = robin.page.locator(".file", has_text=mark)
        await mine.get_by_text(re.compile("^Delete")).first.click()
        await mine.get_by_role("button", name="Delete for good").click()
        await expect(demo.message(mark)).to_contain_text("This file has been deleted.")
        await expect(demo.message(mark).get_by_role("link")).to_have_count(0)


async def test_a_link_is_opened_by_somebody_who_is_not_logged_in(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    name = f"{uuid.uuid4().hex}.txt"
    url = asgi_server.url
    stranger = await browser.new_context(viewport={"width": 320, "height": 640})
    async with person(browser, "robin", url, "/files/") as robin:
        await robin.page.get_by_label("Files to upload").set_input_files(
            [file(name, b"For you")]
        )
        await robin.page.get_by_role("button", name="Upload", exact=True).click()
        shown = robin.page.locator(".file", has_text=name)
        await shown.get_by_role("link", name="Preview and share").click()
        await robin.page.get_by_label("The link works for").select_option("An hour")
        await robin.page.get_by_role("button", name="Make a link").click()
        address = await robin.page.get_by_label("Address of the link").input_value()
        page = await stranger.new_page()
        await page.goto(address)
        await expect(page.get_by_text("robin has shared a file with you.")).to_be_visible()
        await expect(page.get_by_text("For you")).to_be_visible()
        await expect(page.get_by_role("link", name="Log in")).to_be_visible()
        assert await fits(page)
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download").click()
        assert (await (await download.value).path()).read_bytes() == b"For you"
        await robin.page.reload()
        await expect(robin.page.locator(".made")).to_contain_text("1 download")
        await robin.page.get_by_role("button", name="Revoke").click()
        await expect(robin.page.locator(".made")).to_contain_text("Revoked on")
        await page.reload()
        await expect(page.get_by_role("heading", name="This link was revoked")).to_be_visible()
    await stranger.close()


async def test_a_room_is_made_joined_and_archived_while_others_look(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    name, url = f"Room {uuid.uuid4().hex}", asgi_server.url
    async with (
        person(browser, "demo", url, "/rooms/") as demo,
        person(browser, "robin", url, "/rooms/") as robin,
    ):
        await robin.page.get_by_role("link", name="New room").click()
        await robin.page.get_by_label("Name").fill(name)
        await expect(robin.page.get_by_label("Everybody may join")).to_be_checked()
        await robin.page.get_by_role("button", name="Create the room").click()
        await expect(robin.page.get_by_role("heading", name=name)).to_be_visible()
        await demo.page.reload()
        await demo.page.get_by_role("button", name=f"Join {name}").click()
        await expect(robin.present).to_have_text("Here now: demo, robin")
        await demo.text.fill("Not sent yet")
        await robin.page.get_by_role("link", name="member").click()
        await robin.page.get_by_role("button", name=f"Archive {name}").click()
        await expect(demo.page.get_by_text("This room is archived.")).to_be_visible()
        await expect(demo.text).to_have_count(0)
        await robin.page.get_by_role("button", name=f"Open {name} again").click()
        await expect(demo.text).to_have_value("Not sent yet")
        await robin.page.get_by_role("button", name="Remove demo").click()
        await demo.page.wait_for_url(f"{url}/rooms/")
        await expect(demo.page.get_by_role("button", name=f"Join {name}")).to_be_visible()


async def test_files_are_attached_without_javascript(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    mark = uuid.uuid4().hex
    options = {"java_script_enabled": False, "viewport": {"width": 360, "height": 640}}
    async with person(browser, "robin", asgi_server.url, GENERAL, **options) as robin:
        page = robin.page
        await page.locator("#attach summary").click()
        await page.get_by_label("Upload").set_input_files([file(f"{mark}.txt", b"By form")])
        mine = page.locator("option", has_text="welcome.txt").first
        await page.get_by_label("Or one of your files").select_option(
            await mine.get_attribute("value")
        )
        await page.get_by_role("button", name="Send").click()
        shown = page.locator(".message").last
        await expect(shown.get_by_role("link", name=f"{mark}.txt")).to_be_visible()
        await expect(shown.get_by_role("link", name="welcome.txt")).to_be_visible()
        await shown.get_by_role("link", name=f"{mark}.txt").click()
        await expect(page.get_by_text("By form")).to_be_visible()


async def test_guests_see_why_there_is_nothing_to_write_in(
    browser: Browser, asgi_server: AsgiServer, workspace_env: dict[str, str]
) -> None:
    name = f"guest-{uuid.uuid4().hex[:8]}"
    await account(workspace_env, name, "guest", "general")
    async with person(browser, name, asgi_server.url, GENERAL) as guest:
        await expect(guest.present).to_contain_text(name)
        await expect(guest.page.get_by_text("Guests read, and do not write.")).to_be_visible()
        await expect(guest.text).to_have_count(0)
        await guest.page.goto(f"{asgi_server.url}/files/")
        await expect(guest.page.get_by_text("Guests keep no files")).to_be_visible()
        await expect(guest.page.get_by_role("button", name="Upload")).to_have_count(0)
