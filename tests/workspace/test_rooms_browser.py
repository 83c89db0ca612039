"""The example's chat as people see it: two of them, in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import Browser, expect

from onloop.testing import FaultProxy
from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.members import member
from tests.workspace.test_rooms import in_stock, order

# What is sent is tested on both; what a browser makes of it is mostly the same.
on_one = pytest.mark.only_on("postgresql")

GENERAL = "/rooms/general/"

expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture
def proxy(asgi_server: AsgiServer) -> Iterator[FaultProxy]:
    """In front of the service, for who loses the connection."""
    with FaultProxy("127.0.0.1", asgi_server.port) as running:
        yield running


def through(proxy: FaultProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}"


async def test_two_people_talk(browser: Browser, asgi_server: AsgiServer) -> None:
    url = asgi_server.url
    async with person(browser, "demo", url, GENERAL) as demo:
        await expect(demo.present).to_have_text("Here now: demo")
        async with person(browser, "robin", url, GENERAL, color_scheme="dark") as robin:
            await expect(demo.present).to_have_text("Here now: demo, robin")
            await expect(robin.present).to_have_text("Here now: demo, robin")
            await robin.text.press_sequentially("Is it")
            await expect(demo.typing).to_have_text("robin is typing …")
            await expect(robin.typing).to_have_text("")
            await robin.text.press("Shift+Enter")
            await robin.text.press_sequentially("raining?")
            await robin.text.press("Enter")
            await demo.sees("Is it\nraining?")
            await expect(demo.typing).to_have_text("")
            await demo.say("<b>No</b>")
            await robin.sees("Is it\nraining?", "<b>No</b>")
            await demo.sees("Is it\nraining?", "<b>No</b>")
            await expect(demo.text).to_be_focused()
        await expect(demo.present).to_have_text("Here now: demo")


@on_one
async def test_who_loses_the_connection_gets_what_was_missed(
    browser: Browser, asgi_server: AsgiServer, proxy: FaultProxy
) -> None:
    async with (
        person(browser, "demo", asgi_server.url, GENERAL) as demo,
        person(browser, "robin", through(proxy), GENERAL) as robin,
    ):
        await robin.say("Do you hear me?")
        await demo.sees("Do you hear me?")
        await robin.sees("Do you hear me?")
        proxy.refuse()
        proxy.cut()
        await expect(robin.banner).to_have_text("The connection is lost. Trying again …")
        await expect(demo.present).to_have_text("Here now: demo")
        await demo.say("Robin?")
        await demo.say("Gone.")
        await demo.sees("Robin?", "Gone.")
        await robin.say("Hello?")
        await expect(robin.message("Hello?")).to_contain_text("sending …")
        proxy.forward()
        said = ("Do you hear me?", "Robin?", "Gone.", "Hello?")
        await robin.sees(*said)
        await demo.sees(*said)
        await expect(robin.message("Hello?")).not_to_contain_text("sending …")
        await expect(robin.banner).to_be_hidden()


@on_one
async def test_an_answer_that_is_lost_does_not_double_a_message(
    browser: Browser, asgi_server: AsgiServer, proxy: FaultProxy
) -> None:
    """What is sent arrives, and the way back is silent until the connection is cut."""
    async with (
        person(browser, "demo", asgi_server.url, GENERAL) as demo,
        person(browser, "robin", through(proxy), GENERAL) as robin,
    ):
        await expect(robin.present).to_have_text("Here now: demo, robin")
        proxy.black_hole("down")
        await robin.say("Only once, please")
        await demo.sees("Only once, please")
        await expect(robin.message("Only once, please")).to_contain_text("sending …")
        proxy.cut()
        proxy.forward()
        await robin.sees("Only once, please")
        await robin.say("And one more")
        await demo.sees("Only once, please", "And one more")
        await robin.sees("Only once, please", "And one more")
        for somebody in (demo, robin):
            await expect(somebody.message("Only once, please")).to_have_count(1)


async def test_a_browser_that_is_offline_says_so_and_sends_later(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with (
        person(browser, "demo", asgi_server.url, GENERAL) as demo,
        person(browser, "robin", asgi_server.url, GENERAL) as robin,
    ):
        await expect(robin.present).to_have_text("Here now: demo, robin")
        await robin.page.context.set_offline(True)
        await expect(robin.banner).to_have_text(
            "You are offline. What you write is sent when you are back."
        )
        await robin.say("From the train")
        await demo.say("Where are you?")
        await demo.sees("Where are you?")
        await robin.page.context.set_offline(False)
        await robin.sees("Where are you?", "From the train")
        await demo.sees("Where are you?", "From the train")
        await expect(robin.banner).to_be_hidden()


@on_one
async def test_who_was_logged_out_meanwhile_finds_all_that_was_written_after_the_log_in(
    browser: Browser, asgi_server: AsgiServer, proxy: FaultProxy
) -> None:
    async with (
        person(browser, "demo", asgi_server.url, GENERAL) as demo,
        person(browser, "robin", through(proxy), GENERAL) as robin,
    ):
        await expect(robin.present).to_contain_text("robin")
        proxy.black_hole("down")
        await robin.say("This has arrived")
        await demo.sees("This has arrived")
        proxy.refuse()
        proxy.cut()
        await expect(robin.banner).to_have_text("The connection is lost. Trying again …")
        await robin.say("This has not")
        await robin.text.fill("And this is not finished")
        await robin.page.context.clear_cookies()
        proxy.forward()
        await robin.page.wait_for_url("**/accounts/login/**")

        await robin.log_in(GENERAL)
        await demo.sees("This has arrived", "This has not")
        await robin.sees("This has arrived", "This has not")
        await expect(robin.page.locator(".message.pending")).to_have_count(0)
        await expect(robin.message("This has arrived")).to_have_count(1)
        await expect(robin.text).to_have_value("And this is not finished")
        await robin.say("Now it is")
        await demo.sees("This has arrived", "This has not", "Now it is")
        await robin.page.reload()
        await expect(robin.present).to_contain_text("robin")
        await expect(robin.text).to_have_value("")
        await robin.sees("This has arrived", "This has not", "Now it is")


@on_one
async def test_notices_and_counters_arrive_live(
    browser: Browser, asgi_server: AsgiServer, ahttp: httpx.AsyncClient
) -> None:
    async with (
        person(browser, "robin", asgi_server.url, "/rooms/orders/") as robin,
        person(browser, "demo", asgi_server.url, "/rooms/orders/") as demo,
        member(asgi_server, "demo") as elsewhere,
    ):
        await demo.page.goto(f"{asgi_server.url}/rooms/")
        await expect(demo.unread("orders")).to_be_hidden()
        placed = order(await in_stock(ahttp), 1)
        assert (await ahttp.post("/catalogue/orders/", json=placed)).status_code == 201
        await expect(robin.message(placed["customer"]["name"])).to_contain_text("Notice")
        await expect(demo.unread("orders")).to_have_text("1 unread")
        async with elsewhere.socket(GENERAL) as socket:
            await socket.post("Elsewhere")
        await expect(robin.unread("general")).to_be_visible()
        await expect(robin.unread("orders")).to_be_hidden()
        await demo.page.get_by_role("link", name="Orders").click()
        await expect(demo.page.locator("#new + .message")).to_contain_text("ordered 1 item")
        await expect(demo.unread("orders")).to_be_hidden()


@on_one
async def test_all_can_be_read_and_written_without_javascript(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    options = {"java_script_enabled": False, "viewport": {"width": 360, "height": 640}}
    async with person(browser, "demo", asgi_server.url, GENERAL, **options) as demo:
        shown = demo.page.locator(".message")
        await expect(shown).to_have_count(50)
        await expect(shown.last).to_be_in_viewport()
        number = int(await shown.first.get_attribute("data-number") or 0)
        await demo.page.get_by_role("link", name="Older messages").click()
        await expect(shown.last).to_have_attribute("data-number", str(number - 1))
        await demo.text.fill("By form")
        await demo.page.get_by_role("button", name="Send").click()
        await expect(demo.page.locator(".message").last).to_contain_text("By form")
        assert demo.page.url == f"{asgi_server.url}{GENERAL}"
