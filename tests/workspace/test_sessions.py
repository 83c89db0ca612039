"""What is open ends with the session that it was opened in, in other tabs and browsers too."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.conftest import PASSWORD
from tests.workspace.members import Member, member
from tests.workspace.test_accounts import newcomer
from tests.workspace.test_rooms import closed

expect.set_options(timeout=DEADLINE_MS)

ROOM = "/rooms/general/"
OVER = 4401


async def test_a_log_out_closes_the_sockets_of_its_session_and_of_no_other(
    asgi_server: AsgiServer,
) -> None:
    async with (
        member(asgi_server, "robin") as here,
        member(asgi_server, "robin") as elsewhere,
        here.socket("/notices/") as inbox,
        here.socket(ROOM) as room,
        elsewhere.socket(ROOM) as other,
        elsewhere.socket("/notices/") as bell,
    ):
        form = {"csrfmiddlewaretoken": here.token}
        answer = await here.client.post("/accounts/logout/", data=form)
        assert answer.status_code == 302
        await closed(inbox, OVER)
        await closed(room, OVER)
        await other.post("Still here")
        await bell.say(type="present")
        await bell.next_of("present")


async def test_a_new_password_closes_the_sockets_of_other_browsers(
    asgi_server: AsgiServer,
) -> None:
    async with (
        newcomer(asgi_server) as (name, here),
        member(asgi_server, name) as elsewhere,
        here.socket("/notices/") as inbox,
        here.socket(ROOM) as room,
        elsewhere.socket("/notices/") as lost,
        elsewhere.socket(ROOM) as other,
    ):
        password = PASSWORD
        for _ in range(2):  # the sockets that stay are those of the new session
            await new_password(here, password, password := f"{password}-changed")
            await inbox.say(type="present")
            await inbox.next_of("present")
            await room.post("Still here")
        await closed(lost, OVER)
        await closed(other, OVER)


async def new_password(somebody: Member, old: str, new: str) -> None:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    form["csrfmiddlewaretoken"] = somebody.token
    answer = await somebody.client.post("/accounts/profile/password/", data=form)
    assert answer.status_code == 302, answer.text


async def test_who_logs_out_in_one_tab_sees_no_room_in_another(
    browser: Browser, asgi_server: AsgiServer
) -> None:
    async with person(browser, "robin", asgi_server.url, ROOM) as robin:
        await expect(robin.present).to_contain_text("robin")
        await robin.text.fill("Half a thought")
        tab = await robin.page.context.new_page()
        await tab.goto(f"{asgi_server.url}/catalogue/")
        await tab.locator(".menu summary").click()
        await tab.get_by_role("button", name="Log out").click()
        login = f"{asgi_server.url}/accounts/login/?next={ROOM}"
        await expect(robin.page).to_have_url(login)
        await robin.log_in(ROOM)
        await expect(robin.text).to_have_value("Half a thought")
