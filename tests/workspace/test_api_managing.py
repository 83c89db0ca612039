"""What is managed by the example's JSON API: by owners, by makers of rooms, by nobody else."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.servers import AsgiServer
from tests.workspace.test_accounts import newcomer
from tests.workspace.test_api import BYTES, As, by_token, problem

__all__ = ["by_token"]


class Account:
    """A new account with a session: it sends its CSRF token with all it writes."""

    def __init__(self, username: str, client: httpx.AsyncClient) -> None:
        self.username = username
        self.client = client
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]

    async def find(self, owner: httpx.AsyncClient) -> str:
        """Their address among the accounts."""
        found = (await owner.get("/accounts/", params={"q": self.username})).json()["results"]
        return f"/accounts/{found[0]['id']}/"


@pytest.fixture
async def ada(asgi_server: AsgiServer) -> AsyncIterator[Account]:
    async with newcomer(asgi_server) as (name, somebody):
        yield Account(name, somebody.client)


@pytest.fixture
async def ben(asgi_server: AsgiServer) -> AsyncIterator[Account]:
    async with newcomer(asgi_server) as (name, somebody):
        yield Account(name, somebody.client)


async def give(owner: httpx.AsyncClient, address: str, role: str) -> httpx.Response:
    return await owner.patch(address, json={"role": role})


async def test_owners_find_accounts_and_give_roles(by_token: As, ada: Account) -> None:
    demo = by_token("demo")
    for name in ("guest", "robin"):
        problem(await by_token(name).get("/accounts/"), 403)
        problem(await give(by_token(name), "/accounts/1/", "owner"), 403)
    address = await ada.find(demo)
    problem(await give(demo, address, "chief"), 400)
    problem(await give(demo, "/accounts/999999999/", "guest"), 404)
    changed = await give(demo, address, "guest")
    assert (changed.status_code, changed.json()["role"]) == (200, "guest"), changed.text
    assert (await demo.get(address)).json() == changed.json()
    found = await demo.get("/accounts/", params={"q": ada.username, "role": "member"})
    assert found.json()["count"] == 0
    newest = (await ada.client.get("/api/notices/")).json()["results"][0]
    assert newest["text"] == "demo changed your role to “Guest”."
    problem(await ada.client.post("/api/rooms/", json={"name": "Mine"}), 403)


async def test_the_last_owner_stays_one(by_token: As, ada: Account) -> None:
    demo = by_token("demo")
    me = (await demo.get("/accounts/", params={"role": "owner"})).json()["results"]
    assert [each["username"] for each in me] == ["demo"]
    mine = f"/accounts/{me[0]['id']}/"
    said = problem(await give(demo, mine, "member"), 409)
    assert said["detail"] == "demo is the last owner. Make somebody else one first."
    assert (await give(demo, await ada.find(demo), "owner")).status_code == 200
    resigned = await give(demo, mine, "guest")
    assert (resigned.status_code, resigned.json()["role"]) == (200, "guest")
    problem(await give(demo, mine, "owner"), 403)
    back = await ada.client.patch(f"/api{mine}", json={"role": "owner"})
    assert back.status_code == 200, back.text
    assert (await give(demo, await ada.find(demo), "member")).status_code == 200


async def test_two_owners_demote_each_other_at_the_same_moment(
    by_token: As, ada: Account, ben: Account
) -> None:
    demo = by_token("demo")
    places = [f"/api{await somebody.find(demo)}" for somebody in (ada, ben)]
    for _ in range(5):
        for place in places:
            assert (await give(demo, place.removeprefix("/api"), "owner")).status_code == 200
        answers = await asyncio.gather(
            give(ada.client, places[1], "member"), give(ben.client, places[0], "member")
        )
        assert Counter(answer.status_code for answer in answers) == {200: 1, 403: 1}
        owners = (await demo.get("/accounts/", params={"role": "owner"})).json()
        assert owners["count"] == 2
    for place in places:
        await give(demo, place.removeprefix("/api"), "member")


async def test_of_owners_who_all_resign_at_once_one_stays(
    by_token: As, ada: Account, ben: Account
) -> None:
    """Each takes the role from themselves; nobody else could give it back."""
    demo = by_token("demo")
    (me,) = (await demo.get("/accounts/", params={"role": "owner"})).json()["results"]
    ways = [(demo, f"/accounts/{me['id']}/")]
    for somebody in (ada, ben):
        place = await somebody.find(demo)
        assert (await give(demo, place, "owner")).status_code == 200
        ways.append((somebody.client, f"/api{place}"))
    answers = await asyncio.gather(*(give(*way, "member") for way in ways))
    statuses = [answer.status_code for answer in answers]
    stays, place = ways[statuses.index(409)]
    prefix = "" if stays is demo else "/api"
    assert (await give(stays, f"{prefix}/accounts/{me['id']}/", "owner")).status_code == 200
    for _, place in ways[1:]:
        await give(demo, place.removeprefix("/api"), "member")
    assert Counter(statuses) == {200: 2, 409: 1}


async def test_a_room_is_managed_by_who_made_it_and_by_owners(
    by_token: As, ada: Account, ben: Account
) -> None:
    demo, guest = by_token("demo"), by_token("guest")
    problem(await ada.client.post("/api/rooms/", json={"name": "…"}), 400)
    made = await ada.client.post("/api/rooms/", json={"name": f"Boats {uuid.uuid4().hex}"})
    room = f"/api/rooms/{made.json()['slug']}/"
    of_owner = room.removeprefix("/api")

    problem(await ben.client.get(f"{room}members/"), 404)
    problem(await ben.client.patch(room, json={"topic": "Mine"}), 404)
    problem(await guest.patch(of_owner, json={"topic": "Mine"}), 403)
    said = problem(
        await ada.client.post(f"{room}members/", json={"username": "no such body"}), 409
    )
    assert "no such body" in said["detail"]
    invited = await ada.client.post(f"{room}members/", json={"username": f"@{ben.username}"})
    assert (invited.status_code, invited.json()["username"]) == (201, ben.username)
    problem(await ada.client.post(f"{room}members/", json={"username": ben.username}), 409)
    inside = (await ben.client.get(f"{room}members/")).json()["results"]
    assert {each["username"]: each["role"] for each in inside} == {
        ada.username: "member",
        ben.username: "member",
    }
    # Who is in it, and has not made it.
    problem(await ben.client.patch(room, json={"topic": "Mine"}), 403)
    problem(await ben.client.post(f"{room}archive/", json={"archived": True}), 403)

    # An owner need not be in it, and reads nothing of it.
    others = (await demo.get("/rooms/others/", params={"per_page": 100})).json()["results"]
    assert made.json()["slug"] in [each["slug"] for each in others]
    problem(await guest.get("/rooms/others/"), 403)
    changed = await demo.patch(of_owner, json={"topic": "Sails", "is_open": True})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["topic"], changed.json()["is_open"]) == ("Sails", True)
    assert (await demo.get(f"{of_owner}members/")).json()["count"] == 2
    problem(await demo.get(f"{of_owner}messages/"), 404)

    archived = await ada.client.post(f"{room}archive/", json={"archived": True})
    assert archived.json()["archived"]
    problem(await ben.client.post(f"{room}messages/", json={"text": "Ahoy"}), 403)
    problem(await guest.post(f"{of_owner}join/"), 404)
    await ada.client.post(f"{room}archive/", json={"archived": False})
    assert (await ben.client.post(f"{room}messages/", json={"text": "Ahoy"})).status_code == 201

    out = f"{room}members/{invited.json()['id']}/"
    problem(await ben.client.delete(out), 403)
    assert (await ada.client.delete(out)).status_code == 204
    assert (await ada.client.delete(out)).status_code == 204
    problem(await ben.client.get(room), 404)
    assert (await ben.client.post(f"{room}join/")).status_code == 200
    assert (await ben.client.post(f"{room}leave/")).status_code == 204
    problem(await ben.client.get(room), 404)


async def test_no_room_lies_under_an_address_of_the_api(by_token: As) -> None:
    robin = by_token("robin")
    for name in ("Open", "Others", "New"):
        made = (await robin.post("/rooms/", json={"name": name})).json()
        assert (await robin.get(f"/rooms/{made['slug']}/")).json() == made
        assert (await robin.post(f"/rooms/{made['slug']}/leave/")).status_code == 204


async def test_owners_see_which_files_and_orders_there_are(by_token: As) -> None:
    demo, robin = by_token("demo"), by_token("robin")
    sent = await robin.post("/files/?name=a.txt", content=b"mine", headers=BYTES)
    for path in ("/files/", "/orders/"):
        problem(await robin.get(path, params={"whose": "all"}), 403)
    seen = (await demo.get("/files/", params={"whose": "all"})).json()["results"]
    assert sent.json() | {"owner": "robin"} == sent.json()
    assert sent.json()["id"] in [file["id"] for file in seen]
    assert sent.json()["id"] not in (await demo.get("/files/")).text
    file = f"/files/{sent.json()['id']}/"
    for picture in ("thumbnail", "preview"):
        problem(await robin.get(f"{file}{picture}/"), 404)  # a text has none
        problem(await demo.get(f"{file}{picture}/"), 404)
    assert (await demo.delete(file)).status_code == 204
    everybodys = {"whose": "all", "q": "@example", "per_page": 1}
    found = (await demo.get("/orders/", params=everybodys)).json()
    assert found["count"] > 0
    nothing = await demo.get("/orders/", params={**everybodys, "q": uuid.uuid4().hex})
    assert nothing.json()["count"] == 0


async def test_one_notice_is_read_by_whom_it_was_for(by_token: As, ada: Account) -> None:
    (notice,) = (await ada.client.get("/api/notices/")).json()["results"]
    path = f"/notices/{notice['id']}/"
    problem(await by_token("demo").get(path), 404)
    problem(await by_token("demo").post(f"{path}read/"), 404)
    assert (await ada.client.get(f"/api{path}")).json() == notice
    assert notice["read"] is None
    read = await ada.client.post(f"/api{path}read/")
    assert (read.status_code, read.json()["read"] is None) == (200, False), read.text
    assert (await ada.client.get("/api/me/")).json()["unread_notices"] == 0


async def test_a_token_may_never_expire_if_that_is_said(ada: Account) -> None:
    for name, days in (("For ever", None), ("For a day", 1)):
        new = {"name": name, "days": days}
        made = await ada.client.post("/api/tokens/", json=new)
        assert made.status_code == 201, made.text
        assert (made.json()["token"]["expires"] is None) == (days is None)
    again = problem(await ada.client.post("/api/tokens/", json=new), 409)
    assert "You have a token for “For a day”." in again["detail"]
