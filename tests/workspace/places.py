"""Every page of the example, and who sees it: for screenshots and for the check by axe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.conftest import WORKSPACE

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
}

# Names of pages and where they are. Where an address holds a number or a key, it is that of the
# first link on another page: that page's address, and a pattern.
Place = str | tuple[str, str]

VISITOR: dict[str, Place] = {
    "start": "/",
    "catalogue": "/catalogue/",
    "catalogue-nothing-found": "/catalogue/?q=submarine",
    "item": ("/catalogue/", "/catalogue/item/[^/]+/"),
    "log-in": "/accounts/login/",
    "sign-up": "/accounts/sign-up/",
    "panels": "/panels/",
    "not-found": "/nowhere/",
}
GUEST: dict[str, Place] = {
    "guest-start": "/",
    "guest-orders": "/orders/",
    "guest-basket": "/basket/",
    "guest-jobs": "/jobs/",
    "guest-files": "/files/",
    "guest-forbidden": "/accounts/members/",
    "guest-rooms": "/rooms/",
}
MEMBER: dict[str, Place] = {
    "member-start": "/",
    "directory": "/directory/",
    "directory-nobody": "/directory/?q=nobody",
    "member-files": "/files/",
    "member-jobs": "/jobs/",
    "member-notices": "/notices/",
}
OWNER: dict[str, Place] = {
    "start-logged-in": "/",
    "catalogue-owner": "/catalogue/",
    "item-owner": ("/catalogue/", "/catalogue/item/[^/]+/"),
    "basket": "/basket/",
    "orders": "/orders/",
    "order": ("/orders/", "/orders/[0-9a-f-]{36}/"),
    "orders-all": "/orders/all/",
    "rooms": "/rooms/",
    "room": "/rooms/general/",
    "room-new": "/rooms/new/",
    "room-members": "/rooms/general/members/",
    "files": "/files/",
    "file": ("/files/", "/files/[^/]+/about/"),
    "files-all": "/files/all/",
    "jobs": "/jobs/",
    "profile": "/accounts/profile/",
    "tokens": "/accounts/tokens/",
    "members": "/accounts/members/",
    "notices": "/notices/",
    "operations": "/operations/",
}
EVERYBODY: dict[str | None, dict[str, Place]] = {
    None: VISITOR,
    "guest": GUEST,
    "robin": MEMBER,
    "demo": OWNER,
}


async def address(page: Page, place: Place) -> str:
    """The path of a place; its number or key is looked up on the page that links to it."""
    if isinstance(place, str):
        return place
    listing, pattern = place
    await page.goto(listing)
    links = await page.locator("main a[href]").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    return next(link for link in links if re.fullmatch(pattern, link))


@asynccontextmanager
async def visit(
    browser: Browser, url: str, user: str | None, **options: Any
) -> AsyncIterator[Page]:
    """A page of somebody who is logged in, or of nobody; options are of the browser's context.

    Fails if a script of the pages fails.
    """
    options["base_url"] = url
    if user is not None:
        async with person(browser, user, url, "/notices/", **options) as somebody:
            yield somebody.page
            # Refusals and what is not found are asked for.
            somebody.errors = [text for text in somebody.errors if "status of 40" not in text]
        return
    context = await browser.new_context(**options)
    context.set_default_timeout(DEADLINE_MS)
    yield await context.new_page()
    await context.close()


async def try_too_often(page: Page) -> None:
    """To the page that says so; the account is nobody's."""
    await page.goto("/accounts/login/")
    form = page.get_by_role("button", name="Log in")
    while await form.count():
        await page.get_by_label("Username").fill("nobody")
        await page.get_by_label("Password").fill("wrong")
        async with page.expect_navigation():  # else there may be no page to be counted on
            await form.click()


def manage(env: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=WORKSPACE,
        env={**os.environ, **env},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=240,
    )


def as_deployed(env: dict[str, str], static: Path) -> dict[str, str]:
    """The environment of a server without DEBUG: error pages are the example's own."""
    env = {
        **env,
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG": "0",
        "HTTPS": "0",
        "STATIC_ROOT": str(static),
    }
    manage(env, "collectstatic", "--noinput", "--verbosity=0")
    return env
