"""People of the example service: create, read, update, delete, pages, and bad input."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.servers import AsgiServer
from tests.workspace.commands import shell
from tests.workspace.members import member


@pytest.fixture(scope="session")
def tokens(workspace_env: dict[str, str]) -> dict[str, str]:
    """Bearer tokens of a member and of a guest."""
    code = (
        "from django.contrib.auth import get_user_model\n"
        "from onloop.tokens.models import Token\n"
        "for name in ('robin', 'guest'):\n"
        "    user = get_user_model().objects.get(username=name)\n"
        "    print(Token.issue(user, name='a test')[1])\n"
    )
    member, guest = asyncio.run(shell(workspace_env, code)).split()
    return {"member": member, "guest": guest}


@pytest.fixture
def ahttp(ahttp: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.AsyncClient:
    """A member's."""
    ahttp.headers["authorization"] = f"Bearer {tokens['member']}"
    return ahttp


async def new_person(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    team = (await client.get("/people/teams/")).json()["items"][0]["id"]
    return {
        "name": "Ada Example",
        "email": f"{uuid.uuid4().hex}@example.com",
        "team": team,
        "joined": "2024-02-29",
        **changes,
    }


async def test_a_person_is_made_read_changed_and_deleted(ahttp: httpx.AsyncClient) -> None:
    body = await new_person(ahttp)
    made = await ahttp.post("/people/", json=body)
    assert made.status_code == 201
    address = made.headers["location"]
    assert (await ahttp.get(address)).json()["name"] == "Ada Example"
    assert (await ahttp.patch(address, json={"name": "Ada Other"})).status_code == 200
    assert (await ahttp.put(address, json={**body, "name": "Ada Third"})).status_code == 200
    assert (await ahttp.get(address)).json()["name"] == "Ada Third"
    assert (await ahttp.delete(address)).status_code == 204
    assert (await ahttp.get(address)).status_code == 404


async def test_one_of_twenty_posts_with_one_address_wins(ahttp: httpx.AsyncClient) -> None:
    body = await new_person(ahttp)
    answers = await asyncio.gather(*(ahttp.post("/people/", json=body) for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}


async def test_pages_are_complete_stable_and_counted(ahttp: httpx.AsyncClient) -> None:
    first = (await ahttp.get("/people/", params={"per_page": 7})).json()
    assert len(first["items"]) == 7
    assert first["pages"] == -(-first["total"] // 7)
    answers = await asyncio.gather(
        *(
            ahttp.get("/people/", params={"per_page": 7, "page": page})
            for page in range(1, first["pages"] + 1)
        )
    )
    ids = [person["id"] for answer in answers for person in answer.json()["items"]]
    assert len(ids) == len(set(ids)) == first["total"]


@pytest.mark.parametrize(
    ("page", "status"), [("0", 400), ("-1", 400), ("x", 400), ("", 400), (str(10**9), 404)]
)
async def test_a_page_out_of_bounds_is_refused(
    ahttp: httpx.AsyncClient, page: str, status: int
) -> None:
    answer = await ahttp.get("/people/", params={"page": page})
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == status


async def test_a_page_has_at_most_100_items(ahttp: httpx.AsyncClient) -> None:
    page = (await ahttp.get("/people/", params={"per_page": 10_000})).json()
    assert page["per_page"] == len(page["items"]) == 100


@pytest.mark.parametrize(
    "body",
    [b"", b"{bad", b"[]", b"null", b"7", b'"text"', b"\xff\xfe", b'{"name": NaN}', b"[" * 9000],
)
async def test_a_body_that_is_no_json_object_is_a_400(
    ahttp: httpx.AsyncClient, body: bytes
) -> None:
    answer = await ahttp.post(
        "/people/", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"email": 7},
        {"email": "nobody"},
        {"name": None},
        {"name": "x" * 10_000},
        {"team": "first"},
        {"team": True},
        {"joined": "yesterday"},
        {"surplus": 1},
    ],
)
async def test_a_wrong_field_is_named(ahttp: httpx.AsyncClient, change: dict[str, Any]) -> None:
    answer = await ahttp.post("/people/", json=await new_person(ahttp, **change))
    assert answer.status_code == 400
    assert set(answer.json()["error"]["fields"]) == set(change)


async def test_an_unknown_team_is_a_404_and_an_unknown_method_a_405(
    ahttp: httpx.AsyncClient,
) -> None:
    body = await new_person(ahttp, team=10**9)
    assert (await ahttp.post("/people/", json=body)).status_code == 404
    refused = await ahttp.request("PUT", "/people/")
    assert refused.status_code == 405
    assert "POST" in refused.headers["allow"]


async def test_the_sync_view_exports_everybody(ahttp: httpx.AsyncClient) -> None:
    total = (await ahttp.get("/people/")).json()["total"]
    export = await ahttp.get("/people/export.csv")
    assert export.headers["content-type"].startswith("text/csv")
    assert len(export.text.splitlines()) == total + 1


async def test_changes_take_a_member_and_reading_nobody(
    ahttp: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    body = await new_person(ahttp)
    address = (await ahttp.post("/people/", json=body)).headers["location"]
    for authorization, status in (("", 401), (f"Bearer {tokens['guest']}", 403)):
        headers = {"authorization": authorization}
        for method, path in (
            ("POST", "/people/"),
            *((method, address) for method in ("PUT", "PATCH", "DELETE")),
        ):
            changed = {**body, "name": "Mallory"}
            answer = await ahttp.request(method, path, json=changed, headers=headers)
            assert answer.status_code == answer.json()["error"]["status"] == status, method
            assert ("www-authenticate" in answer.headers) == (status == 401)
        assert (await ahttp.get(address, headers=headers)).json()["name"] == body["name"]


async def test_a_session_changes_people_with_its_csrf_token_alone(
    asgi_server: AsgiServer, ahttp: httpx.AsyncClient
) -> None:
    async with member(asgi_server, "robin") as robin:
        body = await new_person(robin.client)
        refused = await robin.client.post("/people/", json=body)
        assert (refused.status_code, "CSRF" in refused.text) == (403, True)
        token = {"x-csrftoken": robin.token}
        assert (await robin.client.post("/people/", json=body, headers=token)).is_success


async def test_a_profile_is_for_those_who_are_signed_in(ahttp: httpx.AsyncClient) -> None:
    del ahttp.headers["authorization"]
    away = await ahttp.get("/accounts/profile/")
    assert away.status_code == 302
    assert away.headers["location"].startswith("/accounts/login/")
