"""People in headless Chromium, each in a browser context of their own.

Playwright drives the system's browser; it downloads none.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from tests.installed import is_missing
from tests.workspace.conftest import PASSWORD

# However busy the machine is; what is tested never depends on it.
DEADLINE_MS = 90_000
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str:
    """Chromium's path; without it the test is skipped, or fails (`tests.installed`)."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    return is_missing(
        "There is no Chromium, which these tests drive. On Debian: apt-get install chromium"
    )


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = executable()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


class Person:
    """Somebody at a browser: `page`, and what they see of a room on it."""

    def __init__(self, name: str, address: str, page: Page) -> None:
        self.name = name
        self.address = address
        self.page = page
        # What went wrong in the page: scripts, and what its policy forbids.
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._listen(message.type, message.text))
        self.log = page.get_by_role("log", name="Messages")
        self.banner = page.locator("#banner")
        self.present = page.locator("#present")
        self.typing = page.locator("#typing")
        self.text = page.get_by_role("textbox", name=re.compile("^Message to "))

    def _listen(self, kind: str, text: str) -> None:
        if kind == "error" and "WebSocket" not in text and "ERR_" not in text:
            self.errors.append(text)

    async def log_in(self, path: str) -> None:
        """Log in on the way to a page, by keyboard."""
        await self.page.goto(f"{self.address}/accounts/login/?next={path}")
        await self.page.get_by_label("Username").fill(self.name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url(f"{self.address}{path}")

    async def say(self, text: str) -> None:
        await self.text.fill(text)
        await self.text.press("Enter")

    def message(self, text: str) -> Locator:
        return self.page.locator(".message", has_text=text)

    async def sees(self, *texts: str) -> None:
        """The last messages, all of them confirmed, are these."""
        shown = self.page.locator(".message[data-number]:not(.pending) .text")
        await expect(shown.last).to_have_text(texts[-1])
        assert (await shown.all_inner_texts())[-len(texts) :] == list(texts)

    def unread(self, slug: str) -> Locator:
        return self.page.locator(f'[data-slug="{slug}"] .count')


@asynccontextmanager
async def person(
    browser: Browser, name: str, address: str, path: str, **options: Any
) -> AsyncIterator[Person]:
    """Somebody who is logged in and looks at `path`; options are of the browser's context."""
    context = await browser.new_context(**options)
    context.set_default_timeout(DEADLINE_MS)
    somebody = Person(name, address, await context.new_page())
    await somebody.log_in(path)
    yield somebody
    assert somebody.errors == [], somebody.errors
    await context.close()
