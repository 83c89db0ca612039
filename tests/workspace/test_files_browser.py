"""The example's files as people see them, in headless Chromium."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.test_files import picture

# What is sent is tested on both; what a browser makes of it is mostly the same.
on_one = pytest.mark.only_on("postgresql")

expect.set_options(timeout=DEADLINE_MS)

MIB = 1024 * 1024


def file(name: str, content: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


async def fits(page: Page) -> bool:
    """Nothing is wider than the window, once the page has its style."""
    await page.wait_for_load_state()
    return await page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


async def upload_speed(page: Page, bytes_a_second: int) -> None:
    """How fast the page may send; -1: as fast as it can."""
    network = await page.context.new_cdp_session(page)
    await network.send("Network.enable")
    await network.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": bytes_a_second,
        },
    )


async def test_an_upload_shows_how_far_it_is_and_can_be_stopped(
    browser: Browser, asgi_server: AsgiServer, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex
    async with person(browser, "robin", asgi_server.url, "/files/") as robin:
        page = robin.page
        button = page.get_by_role("button", name="Upload", exact=True)
        files = page.get_by_label("Files to upload")
        told = page.get_by_role("status")
        problem = page.get_by_role("alert")

        # What the bar shows, from the first byte to the last.
        await upload_speed(page, 8 * MIB)
        await page.evaluate(
            """() => {
                window.seen = []
                const bar = document.getElementById("bar")
                new MutationObserver(() => window.seen.push(bar.value))
                    .observe(bar, { attributes: true })
            }"""
        )
        names = [f"{mark} <b>.png", f"{mark}.bin"]
        await files.set_input_files(
            [file(names[0], picture(400, 200)), file(names[1], bytes(8 * MIB))]
        )
        await button.click()
        await expect(told).to_have_text("2 files uploaded.")
        seen = await page.evaluate("window.seen")
        assert seen[-1] == 1
        assert any(0 < part < 1 for part in seen)

        shown = page.locator(".file", has_text=names[0])
        await expect(shown.locator("img")).to_be_visible()
        await expect(shown.locator(".sum")).to_contain_text("SHA-256")
        await expect(shown.locator("img")).to_have_js_property("naturalWidth", 192)
        await page.screenshot(path=tmp_path / "light.png", full_page=True)
        await page.emulate_media(color_scheme="dark")
        await page.set_viewport_size({"width": 320, "height": 640})
        assert await fits(page)
        await page.screenshot(path=tmp_path / "dark.png", full_page=True)

        # As on a train: there is time to stop it.
        await upload_speed(page, MIB // 8)
        await files.set_input_files([file(f"{mark}-slow", bytes(4 * MIB))])
        await button.click()
        await expect(told).to_contain_text(f"Uploading {mark}-slow")
        await page.get_by_role("button", name="Stop").click()
        await expect(problem).to_contain_text("Stopped. Nothing of the file was kept.")
        await upload_speed(page, -1)

        await shown.get_by_text(re.compile("^Delete")).first.click()
        await shown.get_by_role("button", name="Delete for good").click()
        await expect(page.get_by_text(names[0])).to_have_count(0)
        await expect(page.locator(".file", has_text=f"{mark}-slow")).to_have_count(0)


@on_one
async def test_all_can_be_done_without_javascript(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    name = f"{uuid.uuid4().hex}.txt"
    options = {"java_script_enabled": False}
    async with person(browser, "robin", asgi_server.url, "/files/", **options) as robin:
        page = robin.page
        await page.get_by_label("Files to upload").set_input_files([file(name, b"content")])
        await page.get_by_role("button", name="Upload", exact=True).click()
        shown = page.locator(".file", has_text=name)
        async with page.expect_download() as download:
            await shown.get_by_role("link", name=name, exact=True).click()
        saved = await (await download.value).path()
        assert (saved.read_bytes(), (await download.value).suggested_filename) == (
            b"content", name
        )  # fmt: skip
        await shown.get_by_text(re.compile("^Delete")).first.click()
        await shown.get_by_role("button", name="Delete for good").click()
        await expect(page.locator(".file", has_text=name)).to_have_count(0)
