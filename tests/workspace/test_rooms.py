"""The example's chat over real sockets; its own tests in a `TestCase` run here too."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.servers import AsgiServer
from tests.workspace.members import DEADLINE_S, Member, Socket, member

# All of the apps', which are many; a busy machine does not decide them.
OWN_TESTS_S = 300


@pytest.fixture
async def demo(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "demo") as somebody:
        yield somebody


@pytest.fixture
async def robin(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "robin") as somebody:
        yield somebody


def order(product: int, quantity: int) -> dict[str, Any]:
    customer = {"name": f"Buyer {uuid.uuid4().hex}", "email": "buyer@example.com"}
    return {"customer": customer, "lines": [{"product": product, "quantity": quantity}]}


async def in_stock(client: httpx.AsyncClient) -> int:
    products = (await client.get("/catalogue/products/?per_page=100")).json()["items"]
    return next(product["id"] for product in products if 2 <= product["stock"] < 1000)


@pytest.mark.timeout(OWN_TESTS_S + 20)
def test_the_examples_own_tests_pass(workspace_env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test"],
        cwd=folder,
        env={**os.environ, **workspace_env},
        capture_output=True,
        text=True,
        check=False,
        timeout=OWN_TESTS_S,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Ran [1-9]\d* tests", done.stderr), done.stderr


async def test_who_comes_back_is_sent_what_was_missed_in_order(
    demo: Member, robin: Member
) -> None:
    async with robin.socket("/rooms/general/") as there:
        async with demo.socket("/rooms/general/") as away:
            last = await there.post("Before you left")
            while (await away.next_of("message"))["number"] != last:
                pass
        missed = [await there.post(f"Number {number}") for number in range(120)]
        async with demo.socket(f"/rooms/general/?after={last}") as back:
            got: list[int] = []
            while len(got) < len(missed):
                page = await back.next_of("history")
                got += [message["number"] for message in page["messages"]]
            assert got == missed == list(range(last + 1, last + 121))
            assert await there.post("And now") == (await back.next_of("message"))["number"]


async def test_one_message_on_two_connections_at_once_is_saved_once(demo: Member) -> None:
    ref = str(uuid.uuid4())
    async with (
        demo.socket("/rooms/general/") as first,
        demo.socket("/rooms/general/") as second,
    ):
        numbers = await asyncio.gather(first.post("Once", ref), second.post("Once", ref))
        assert numbers[0] == numbers[1]
        assert await first.post("Twice") == numbers[0] + 1


async def test_an_order_is_told_when_it_is_committed_and_not_when_it_is_refused(
    demo: Member,
) -> None:
    product = await in_stock(demo.client)
    async with demo.socket("/rooms/orders/") as room, demo.socket("/rooms/") as inbox:
        refused = order(product, 9_000)
        answer = await demo.client.post("/catalogue/orders/", json=refused)
        assert answer.status_code == 409
        placed = order(product, 2)
        answer = await demo.client.post("/catalogue/orders/", json=placed)
        assert answer.status_code == 201
        notice = await room.next_of("message")
        assert notice["sender"] is None
        assert notice["body"]["text"].startswith(
            f"{placed['customer']['name']} ordered 2 items"
        )
        unread = await inbox.next_of("unread")
        assert (unread["slug"], unread["last"]) == ("orders", notice["number"])
        cancelled = answer.headers["location"] + "cancel/"
        assert (await demo.client.post(cancelled, json={})).status_code == 200
        told = await room.next_of("message")
        assert told["number"] == notice["number"] + 1
        assert told["body"]["text"].endswith("is cancelled.")


async def test_counters_of_the_list_go_up_and_come_down(demo: Member, robin: Member) -> None:
    async with demo.socket("/rooms/") as inbox, robin.socket("/rooms/goods-out/") as there:
        number = await there.post("A parcel is back")
        unread = await inbox.next_of("unread")
        assert (unread["slug"], unread["last"]) == ("goods-out", number)
        assert 'data-slug="goods-out"' in (await demo.client.get("/rooms/")).text
        page = await demo.client.get("/rooms/goods-out/")
        assert "A parcel is back" in page.text
        read = await inbox.next_of("unread")
        assert (read["slug"], read["read"]) == ("goods-out", number)


async def test_the_plain_form_posts_and_is_protected(demo: Member, robin: Member) -> None:
    form = {"text": "By form alone", "ref": str(uuid.uuid4())}
    async with robin.socket("/rooms/general/") as there:
        forged = await demo.client.post("/rooms/general/", data=form)
        assert forged.status_code == 403
        form["csrfmiddlewaretoken"] = demo.token
        answer = await demo.client.post("/rooms/general/", data=form)
        assert (answer.status_code, answer.headers["location"]) == (302, "/rooms/general/")
        heard = await there.next_of("message")
        assert (heard["sender"], heard["body"]["text"]) == ("demo", "By form alone")


@pytest.mark.parametrize("path", ["/rooms/repairs/", "/rooms/nowhere/"])
async def test_rooms_are_for_their_members(demo: Member, path: str) -> None:
    assert (await demo.client.get(path)).status_code == 404
    with pytest.raises(InvalidStatus) as refused:
        await demo.connect(path)
    assert refused.value.response.status_code == 403


async def test_sockets_are_for_those_who_are_logged_in_and_for_pages_of_this_site(
    demo: Member, asgi_server: AsgiServer, ahttp: httpx.AsyncClient
) -> None:
    for path in ("/rooms/", "/rooms/general/"):
        stranger = Member(asgi_server, ahttp)
        with pytest.raises(InvalidStatus):
            await stranger.connect(path)
        assert (await ahttp.get(path)).headers["location"] == f"/accounts/login/?next={path}"
        with pytest.raises(InvalidStatus):
            await demo.connect(path, origin="http://evil.example")


async def test_who_is_taken_out_of_a_room_hears_no_more(demo: Member, robin: Member) -> None:
    """By the admin, whose deleting is plain synchronous code."""
    slug = uuid.uuid4().hex
    adding = (await demo.client.get("/admin/rooms/room/add/")).text
    ids = {who: pk for pk, who in re.findall(r'<option value="(\d+)">(demo|robin)<', adding)}
    room = {"name": slug, "slug": slug, "csrfmiddlewaretoken": demo.token}
    members = {
        "memberships-TOTAL_FORMS": "2",
        "memberships-INITIAL_FORMS": "0",
        "memberships-0-user": ids["demo"],
        "memberships-1-user": ids["robin"],
    }
    made = await demo.client.post("/admin/rooms/room/add/", data=room | members)
    assert made.status_code == 302, made.text
    path = f"/rooms/{slug}/"
    async with demo.socket(path) as stays, robin.socket(path) as goes:
        listing = (await demo.client.get("/admin/rooms/room/", params={"q": slug})).text
        (address,) = set(re.findall(r"/admin/rooms/room/\d+/change/", listing))
        changing = (await demo.client.get(address)).text
        hidden = r'name="(memberships-\d-(?:id|room))" value="(\d+)"'
        members |= dict(re.findall(hidden, changing))
        members |= {"memberships-INITIAL_FORMS": "2", "memberships-1-DELETE": "on"}
        saved = await demo.client.post(address, data=room | members)
        assert saved.status_code == 302, saved.text
        await closed(goes, 4403)
        assert await stays.post("Alone again") == 1
        with pytest.raises(InvalidStatus):
            await robin.connect(path)


async def closed(socket: Socket, code: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConnectionClosed):
            while True:
                await socket.connection.recv()
    assert socket.connection.close_code == code
