"""Every page of the example before axe-core: what people with disabilities would run into."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer, AsgiServers, Serving
from tests.workspace.browser import DEADLINE_MS, chromium, person
from tests.workspace.conftest import PASSWORD, WORKSPACE
from tests.workspace.places import EVERYBODY, address

# All pages of a role, one after the other; against hanging.
pytestmark = pytest.mark.timeout(300)
expect.set_options(timeout=DEADLINE_MS)

GRAVE = ("serious", "critical")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}},
}
looks = pytest.mark.parametrize("look", LOOKS)


@pytest.fixture(scope="module")
def production(
    workspace_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """As deployed: error pages are the example's own, files have their final names."""
    env = {
        **workspace_env,
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG": "0",
        "HTTPS": "0",
        "STATIC_ROOT": str(tmp_path_factory.mktemp("static")),
    }
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"],
        cwd=WORKSPACE,
        env={**os.environ, **env},
        check=True,
        timeout=120,
    )
    return env


@pytest.fixture
def asgi_server(
    workspace_servers: AsgiServers, production: dict[str, str]
) -> Iterator[AsgiServer]:
    server = workspace_servers.get(
        Serving(application="workspace.asgi:application", env=tuple(production.items()))
    )
    server.mark_log()
    yield server
    assert "Traceback" not in server.new_log(), server.new_log()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@asynccontextmanager
async def visit(
    browser: Browser, server: AsgiServer, user: str | None, look: str
) -> AsyncIterator[Page]:
    options = {**LOOKS[look], "base_url": server.url}
    if user is not None:
        async with person(browser, user, server.url, "/notices/", **options) as somebody:
            yield somebody.page
            # Refusals and what is not found are asked for; a script that fails is not.
            somebody.errors = [text for text in somebody.errors if "status of 40" not in text]
        return
    context = await browser.new_context(**options)
    context.set_default_timeout(DEADLINE_MS)
    yield await context.new_page()
    await context.close()


async def problems(page: Page) -> list[str]:
    """What is grave in a page as it is, and whether it is wider than its window."""
    found = await Axe().run(page)
    told = [
        f"{page.url}: {violation['id']}: {violation['help']}: {node['html'][:200]} "
        f"{node['failureSummary']}"
        for violation in found.response["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]
    too_wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return told + ([f"{page.url}: {too_wide} px too wide"] if too_wide > 0 else [])


@looks
@pytest.mark.parametrize("user", EVERYBODY)
async def test_no_page_has_a_serious_problem(
    browser: Browser, asgi_server: AsgiServer, user: str | None, look: str
) -> None:
    async with visit(browser, asgi_server, user, look) as page:
        found: list[str] = []
        for place in EVERYBODY[user].values():
            await page.goto(await address(page, place))
            found += await problems(page)
        assert found == []


@looks
async def test_nor_have_forms_that_were_filled_in_wrong(
    browser: Browser, asgi_server: AsgiServer, look: str
) -> None:
    found = []
    async with visit(browser, asgi_server, None, look) as page:
        await page.goto("/accounts/login/")
        await page.get_by_label("Username").fill("demo")
        await page.get_by_label("Password").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator(".errorlist, .alert").first).to_be_visible()
        found += await problems(page)
        await page.goto("/accounts/sign-up/")
        await page.get_by_label("Username").fill("demo")
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_label("Password confirmation").fill("another")
        await page.keyboard.press("Enter")
        await expect(page.locator(".errorlist").first).to_be_visible()
        found += await problems(page)
        await page.goto("/catalogue/?least=x&most=-1&page=x")
        found += await problems(page)
    assert found == []


@looks
async def test_nor_have_a_job_a_shared_file_and_the_open_menu(
    browser: Browser, asgi_server: AsgiServer, look: str
) -> None:
    found = []
    async with visit(browser, asgi_server, "demo", look) as page:
        await page.goto("/jobs/")
        await page.get_by_role("button", name="Report").click()
        await expect(page.locator(".work")).to_have_attribute("data-state", "done")
        found += await problems(page)
        await page.goto(await address(page, ("/files/", "/files/[^/]+/about/")))
        await page.get_by_role("button", name="Make a link").click()
        link = await page.locator(".address input").first.input_value()
        found += await problems(page)
        await page.goto(link)
        found += await problems(page)
        await page.goto(link[:-5] + "0000/")
        found += await problems(page)
        await page.locator(".menu summary").click()
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
        found += await problems(page)
    assert found == []


async def test_the_menu_goes_by_keyboard(browser: Browser, asgi_server: AsgiServer) -> None:
    async with visit(browser, asgi_server, "demo", "light") as page:
        menu = page.locator(".menu")
        summary = menu.locator("summary")
        await summary.focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(menu.get_by_role("link", name="Profile")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(summary).to_be_focused()
        await expect(menu.get_by_role("link", name="Profile")).to_be_hidden()
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Notices", level=1).click()
        await expect(menu.get_by_role("link", name="Profile")).to_be_hidden()
        await summary.click()
        await menu.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("link", name="Log in").first).to_be_visible()
