"""Accounts, roles and bells of the example, by real servers; what is asked at once, too."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.servers import AsgiServer
from tests.workspace.conftest import HTTP_TIMEOUT_S, PASSWORD, Starting
from tests.workspace.members import Member, member


@pytest.fixture
async def demo(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "demo") as somebody:
        yield somebody


async def sign_up(client: httpx.AsyncClient, username: str) -> httpx.Response:
    await client.get("/accounts/sign-up/")
    form = {"username": username, "password1": PASSWORD, "password2": PASSWORD}
    form["csrfmiddlewaretoken"] = client.cookies["csrftoken"]
    return await client.post("/accounts/sign-up/", data=form)


@asynccontextmanager
async def newcomer(server: AsgiServer) -> AsyncIterator[tuple[str, Member]]:
    """Somebody who has just signed up, and their user name."""
    name = f"new-{uuid.uuid4().hex[:12]}"
    async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
        answer = await sign_up(client, name)
        assert answer.status_code == 302, answer.text
        yield name, Member(server, client)


async def address_of(owner: Member, username: str) -> str:
    """Where an owner changes somebody's role."""
    page = (await owner.client.get("/accounts/members/", params={"q": username})).text
    (address,) = re.findall(r'action="(/accounts/members/\d+/role/)"', page)
    return str(address)


async def change(owner: Member, address: str, role: str) -> int:
    form = {"role": role, "csrfmiddlewaretoken": owner.token}
    return (await owner.client.post(address, data=form)).status_code


async def test_of_many_who_want_one_name_at_once_one_gets_it(asgi_server: AsgiServer) -> None:
    name = f"many-{uuid.uuid4().hex[:12]}"

    async def attempt() -> int:
        async with httpx.AsyncClient(
            base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S
        ) as client:
            return (await sign_up(client, name)).status_code

    answers = await asyncio.gather(*(attempt() for _ in range(6)))
    assert Counter(answers) == {302: 1, 400: 5}


async def test_a_new_account_is_a_member_of_the_open_room_and_has_read_it(
    asgi_server: AsgiServer,
) -> None:
    async with newcomer(asgi_server) as (_, new), new.socket("/notices/") as inbox:
        assert (await inbox.next_of("notices"))["unread"] == 1
        (room,) = (await inbox.next_of("rooms"))["rooms"]
        assert room["slug"] == "general"
        assert room["last"] == room["read"] > 0


async def test_sign_up_can_be_closed_and_begin_as_a_guest(starting: Starting) -> None:
    server = starting(SIGN_UP_ROLE="guest")
    async with newcomer(server) as (_, new):
        assert (await new.client.get("/accounts/me/")).json()["role"] == "guest"
        page = (await new.client.get("/accounts/members/")).text
        assert "This takes the role" in page
    server = starting(SIGN_UP="0")
    async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_TIMEOUT_S) as client:
        assert "Ask an owner" in (await client.get("/accounts/sign-up/")).text
        await client.get("/accounts/login/")
        assert (await sign_up(client, "nobody")).status_code == 403


async def test_sockets_hear_of_a_new_role_and_the_bell_rings(
    asgi_server: AsgiServer, demo: Member
) -> None:
    async with newcomer(asgi_server) as (name, new), new.socket("/notices/") as inbox:
        assert (await inbox.next_of("notices"))["unread"] == 1
        assert await change(demo, await address_of(demo, name), "guest") == 302
        assert (await inbox.next_of("notices"))["unread"] == 2
        assert (await inbox.next_of("role"))["role"] == "guest"
        page = (await new.client.get("/notices/")).text
        assert "demo changed your role to “Guest”." in page
        form = {"up_to": re.findall(r'name="up_to" value="(\d+)"', page)[0]}
        form["csrfmiddlewaretoken"] = new.token
        assert (await new.client.post("/notices/read/", data=form)).status_code == 302
        assert (await inbox.next_of("notices"))["unread"] == 0


async def test_two_owners_who_take_the_role_from_each_other_at_once(
    asgi_server: AsgiServer, demo: Member
) -> None:
    """The second is none any more when it is their turn."""
    async with (
        newcomer(asgi_server) as (first, ada),
        newcomer(asgi_server) as (second, ben),
    ):
        places = [await address_of(demo, name) for name in (first, second)]
        for _ in range(5):
            for place in places:
                assert await change(demo, place, "owner") == 302
            answers = await asyncio.gather(
                change(ada, places[1], "member"), change(ben, places[0], "member")
            )
            assert Counter(answers) == {302: 1, 403: 1}
        for place in places:
            await change(demo, place, "member")


async def test_of_owners_who_all_resign_at_once_one_stays(
    asgi_server: AsgiServer, demo: Member
) -> None:
    async with (
        newcomer(asgi_server) as (first, ada),
        newcomer(asgi_server) as (second, ben),
    ):
        owners = [demo, ada, ben]
        places = [await address_of(demo, name) for name in ("demo", first, second)]
        for place in places[1:]:
            assert await change(demo, place, "owner") == 302
        answers = await asyncio.gather(
            *(
                change(owner, place, "member")
                for owner, place in zip(owners, places, strict=True)
            )
        )
        stays = owners[answers.index(409)]
        assert await change(stays, places[0], "owner") == 302
        for place in places[1:]:
            assert await change(demo, place, "member") == 302
        assert Counter(answers) == {302: 2, 409: 1}


async def test_the_demo_has_an_owner_a_member_and_a_guest_with_notices(
    asgi_server: AsgiServer,
) -> None:
    for name, role in (("demo", "owner"), ("robin", "member"), ("guest", "guest")):
        async with member(asgi_server, name) as somebody:
            me = (await somebody.client.get("/accounts/me/")).json()
            assert me["role"] == role
            page = (await somebody.client.get("/notices/")).text
            for path in re.findall(r'href="(/notices/\d+/)"', page):
                led = await somebody.client.get(path, follow_redirects=True)
                # What is for owners leads nobody else astray.
                assert led.status_code == 200, (name, path, led.url)


async def test_the_directory_is_a_page_and_the_api_is_where_it_was(demo: Member) -> None:
    page = await demo.client.get("/directory/", params={"team": "Design"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.count('class="face"') == 15
    assert (await demo.client.get("/people/")).json()["per_page"] == 25
