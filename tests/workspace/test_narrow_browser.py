"""What people type and upload, on the narrowest of phones."""

from __future__ import annotations

import uuid

from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.members import Member, member
from tests.workspace.test_accounts import newcomer

expect.set_options(timeout=DEADLINE_MS)

PHONE = {"viewport": {"width": 360, "height": 740}}


async def test_a_file_with_a_long_name_makes_no_page_wider(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    name = f"{uuid.uuid4().hex * 3}.csv"
    async with member(asgi_server, "demo") as demo:
        file = await uploaded(demo, name)
        async with person(browser, "demo", asgi_server.url, "/files/", **PHONE) as narrow:
            for path in ("/files/", f"/files/{file}/about/", "/files/all/", "/jobs/"):
                await narrow.page.goto(asgi_server.url + path)
                assert await too_wide(narrow.page) <= 0, path
            await narrow.page.goto(f"{asgi_server.url}/rooms/general/")
            await expect(narrow.page.locator("#file option", has_text=name)).to_have_count(1)
            assert await too_wide(narrow.page) <= 0
            await narrow.page.locator("#attach summary").click()
            await expect(narrow.page.locator("#file")).to_be_visible()
            assert await too_wide(narrow.page) <= 0
            right_edge = "select => select.getBoundingClientRect().right"
            assert await narrow.page.locator("#file").evaluate(right_edge) <= 360


async def test_an_unread_room_out_of_sight_makes_no_page_wider(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with newcomer(asgi_server) as (name, somebody), member(asgi_server, "demo") as demo:
        for letters in ("A" * 40, "B" * 40):  # in front of “General”
            form = {"name": letters, "is_open": "1", "csrfmiddlewaretoken": somebody.token}
            made = await somebody.client.post("/rooms/new/", data=form)
            assert made.status_code == 302, made.text
        async with demo.socket("/rooms/general/") as room:
            await room.post("Who is new here?")
        path = made.headers["Location"]
        async with person(browser, name, asgi_server.url, path, **PHONE) as narrow:
            await expect(narrow.unread("general")).to_be_visible()
            assert await too_wide(narrow.page) <= 0


async def test_the_bar_has_two_lines_and_all_sections_are_in_sight(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with person(browser, "demo", asgi_server.url, "/panels/", **PHONE) as demo:
        await expect(demo.page.locator(".bar")).to_be_visible()
        assert await in_two_lines(demo.page)
        name = demo.page.locator(".menu .name")
        await name.evaluate("name => name.textContent = 'w'.repeat(24)")
        assert await in_two_lines(demo.page)
        hidden = "sections => sections.scrollWidth - sections.clientWidth"
        assert await demo.page.locator(".sections").evaluate(hidden) <= 0
    context = await browser.new_context(base_url=asgi_server.url, **PHONE)
    page = await context.new_page()
    for path in ("/accounts/login/", "/accounts/sign-up/"):
        await page.goto(path)
        assert await in_two_lines(page), path
    await context.close()


async def in_two_lines(page: Page) -> bool:
    """The name of the service and one's own links are beside each other."""
    return bool(
        await page.evaluate(
            """() => {
                const [brand, own] = [".brand", ".own"].map(
                    (each) => document.querySelector(each).getBoundingClientRect());
                const isBeside = brand.right <= own.left && own.right <= innerWidth;
                return isBeside && own.top < brand.bottom;
            }"""
        )
    )


async def too_wide(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))


async def uploaded(somebody: Member, name: str) -> str:
    answer = await somebody.client.post(
        "/files/raw/",
        params={"name": name},
        content=b"sku,name\n",
        headers={"Content-Type": "application/octet-stream", "X-CSRFToken": somebody.token},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
