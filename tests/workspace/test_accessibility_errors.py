"""Pages that nobody looks at before axe-core: those of errors, and the API's, by Swagger UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer, Serving, start
from tests.workspace.browser import DEADLINE_MS
from tests.workspace.conftest import HTTP_TIMEOUT_S
from tests.workspace.places import LOOKS, as_deployed, visit
from tests.workspace.test_accessibility import problems
from tests.workspace.tokens import issue

pytestmark = [pytest.mark.timeout(300), pytest.mark.only_on("postgresql")]
expect.set_options(timeout=DEADLINE_MS)

looks = pytest.mark.parametrize("look", LOOKS)
Deployed = Callable[..., AsgiServer]


@pytest.fixture(scope="module")
def deployed(
    workspace_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """Starts the example without DEBUG, its variables changed."""
    env = as_deployed(workspace_env, tmp_path_factory.mktemp("static"))
    started: dict[tuple[tuple[str, str], ...], AsgiServer] = {}
    with ExitStack() as stack:

        def serve(**variables: str) -> AsgiServer:
            all_of = tuple({**env, **variables}.items())
            if all_of not in started:
                serving = Serving(application="workspace.asgi:application", env=all_of)
                folder: Path = tmp_path_factory.mktemp("server")
                started[all_of] = start(serving, folder)
                stack.callback(started[all_of].stop)
            return started[all_of]

        yield serve


async def shown(page: Page, url: str, status: int, heading: str) -> list[str]:
    answer = await page.goto(url)
    assert answer is not None
    assert answer.status == status
    await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    return await problems(page)


@looks
async def test_pages_of_errors(browser: Browser, deployed: Deployed, look: str) -> None:
    server = deployed(DJANGO_SETTINGS_MODULE="tests.workspace.failing")
    elsewhere = server.url.replace("127.0.0.1", "localhost")  # a host that is not allowed
    async with visit(browser, server.url, None, **LOOKS[look]) as page:
        found = await shown(page, "/nowhere/", 404, "Nothing here")
        found += await shown(page, elsewhere, 400, "That request makes no sense")
        found += await shown(page, "/fail/", 500, "Something broke")
        await page.goto("/accounts/login/")
        await page.context.clear_cookies()
        await page.get_by_label("Username").fill("demo")
        await page.get_by_label("Password").fill("wrong")
        await page.keyboard.press("Enter")
        heading = page.get_by_role("heading", level=1)
        await expect(heading).to_have_text("That form has expired")
        found += await problems(page)
    async with visit(browser, server.url, "robin", **LOOKS[look]) as page:
        found += await shown(page, "/nowhere/", 404, "Nothing here")
        found += await shown(page, "/orders/?page=x", 400, "That request makes no sense")
        found += await shown(page, "/accounts/members/", 403, "Not for you")
    assert found == []


@looks
async def test_the_page_of_a_link_that_was_revoked(
    browser: Browser, deployed: Deployed, workspace_env: dict[str, str], look: str
) -> None:
    server = deployed()
    headers = {"Authorization": f"Bearer {issue(workspace_env, 'robin')}"}
    async with (
        httpx.AsyncClient(
            base_url=f"{server.url}/api", headers=headers, timeout=HTTP_TIMEOUT_S
        ) as robin,
        visit(browser, server.url, None, **LOOKS[look]) as page,
    ):
        file = (await robin.get("/files/")).json()["results"][0]["id"]
        link = (await robin.post(f"/files/{file}/links/", json={"hours": 1})).json()
        assert (await robin.delete(f"/files/{file}/links/{link['id']}/")).status_code == 204
        assert await shown(page, link["url"], 410, "This link was revoked") == []


@looks
async def test_the_page_while_the_database_is_away(
    browser: Browser, deployed: Deployed, look: str
) -> None:
    server = deployed(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    async with visit(browser, server.url, None, **LOOKS[look]) as page:
        assert await shown(page, "/catalogue/", 503, "One moment, please") == []
    async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as program:
        bare = await program.get("/catalogue/")
        assert (bare.status_code, bare.text) == (503, "Service Unavailable")
        assert bare.headers["Retry-After"] == "1"
        older = await program.get("/catalogue/products/")
        assert (older.status_code, older.json()["error"]["status"]) == (503, 503)
        assert older.headers["Retry-After"] == "1"
        said = await program.get("/api/products/", headers={"Accept": "text/html"})
        assert said.headers["Content-Type"] == "application/problem+json"


# What is grave in Swagger UI itself, and no setting or sheet of style mends. Each operation's
# head is one button with links in it; the body to try has no label, though a heading above it;
# what closes the dialog is a picture alone. All three can be used by keyboard.
OF_EACH_OPERATION = "nested-interactive"
OF_A_BODY = "label"
OF_THE_DIALOG = "button-name"


@looks
async def test_the_page_to_try_the_api(browser: Browser, deployed: Deployed, look: str) -> None:
    async with visit(browser, deployed().url, "demo", **LOOKS[look]) as page:

        async def grave() -> Counter[str]:
            return Counter(text.split(": ")[1] for text in await problems(page))

        await page.goto("/api/docs/")
        operation = page.locator("#operations-accounts-accounts_partial_update")
        await expect(operation).to_be_visible()
        known = Counter({OF_EACH_OPERATION: await page.locator(".opblock").count()})
        assert await grave() == known
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Try it out").click()
        await expect(operation.get_by_role("button", name="Execute")).to_be_visible()
        known += Counter([OF_A_BODY])
        assert await grave() == known
        await page.get_by_role("button", name="Authorize").first.click()
        await expect(page.locator(".modal-ux")).to_be_visible()
        known += Counter([OF_THE_DIALOG])
        assert await grave() == known
