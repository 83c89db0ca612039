"""Every page of the example before axe-core: what people with disabilities would run into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer, AsgiServers, Serving
from tests.workspace.browser import DEADLINE_MS
from tests.workspace.conftest import PASSWORD
from tests.workspace.places import EVERYBODY, LOOKS, address, as_deployed, try_too_often, visit

# All pages of a role, one after the other; against hanging.
# Pages are the same on both databases.
pytestmark = [pytest.mark.timeout(300), pytest.mark.only_on("postgresql")]
expect.set_options(timeout=DEADLINE_MS)

GRAVE = ("serious", "critical")
looks = pytest.mark.parametrize("look", LOOKS)


@pytest.fixture(scope="module")
def deployed_env(
    workspace_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    return as_deployed(workspace_env, tmp_path_factory.mktemp("static"))


@pytest.fixture
def asgi_server(
    workspace_servers: AsgiServers, deployed_env: dict[str, str]
) -> Iterator[AsgiServer]:
    server = workspace_servers.get(
        Serving(application="workspace.asgi:application", env=tuple(deployed_env.items()))
    )
    server.mark_log()
    yield server
    assert "Traceback" not in server.new_log(), server.new_log()


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
    async with visit(browser, asgi_server.url, user, **LOOKS[look]) as page:
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
    async with visit(browser, asgi_server.url, None, **LOOKS[look]) as page:
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
        await try_too_often(page)
        found += await problems(page)
        await page.goto("/catalogue/?least=x&most=-1&page=x")
        found += await problems(page)
    assert found == []


@looks
async def test_nor_have_a_job_a_shared_file_and_the_open_menu(
    browser: Browser, asgi_server: AsgiServer, look: str
) -> None:
    found = []
    async with visit(browser, asgi_server.url, "demo", **LOOKS[look]) as page:
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
    async with visit(browser, asgi_server.url, "demo") as page:
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
