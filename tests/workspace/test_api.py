"""The example's JSON API, as its clients use it: by token, by session, in each role."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

import httpx
import pytest

from tests.servers import AsgiServer
from tests.workspace.conftest import HTTP_TIMEOUT_S
from tests.workspace.members import log_in
from tests.workspace.tokens import issue

PROBLEM = "application/problem+json"
CUSTOMER = {"name": "A buyer", "email": "buyer@example.com"}

As = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def by_token(asgi_server: AsgiServer, workspace_env: dict[str, str]) -> AsyncIterator[As]:
    """`by_token("robin")`: a client with a bearer token of that account."""
    async with AsyncExitStack() as stack:

        @cache
        def client(username: str) -> httpx.AsyncClient:
            headers = {"Authorization": f"Bearer {issue(workspace_env, username)}"}
            made = httpx.AsyncClient(
                base_url=f"{asgi_server.url}/api", headers=headers, timeout=HTTP_TIMEOUT_S
            )
            stack.push_async_callback(made.aclose)
            return made

        yield client


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == PROBLEM
    said = answer.json()
    assert said["status"] == status
    return said


async def new_product(owner: httpx.AsyncClient, stock: int) -> dict[str, Any]:
    category = (await owner.get("/categories/")).json()["results"][0]["id"]
    new = {
        "name": "A lantern",
        "sku": uuid.uuid4().hex[:20],
        "category": category,
        "price": "9.50",
        "stock": stock,
    }
    made = await owner.post("/products/", json=new)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def test_nobody_reads_the_catalogue_and_nothing_else(ahttp: httpx.AsyncClient) -> None:
    found = (await ahttp.get("/api/products/", params={"q": "lamp", "per_page": 2})).json()
    assert len(found["results"]) <= 2
    assert (await ahttp.get("/api/categories/")).status_code == 200
    for path in ("me", "people", "rooms", "files", "jobs", "notices", "orders", "basket"):
        refused = await ahttp.get(f"/api/{path}/")
        problem(refused, 401)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    problem(await ahttp.post("/api/products/", json={}), 401)
    false = {"Authorization": "Bearer onl_" + "x" * 60}
    problem(await ahttp.get("/api/products/", headers=false), 401)
    problem(await ahttp.get("/api/nothing/"), 404)


async def test_a_session_writes_with_its_csrf_token(ahttp: httpx.AsyncClient) -> None:
    await log_in(ahttp, "robin")
    said = problem(await ahttp.patch("/api/me/", json={"about": "Boats"}), 403)
    assert "CSRF" in said["detail"]
    token = {"X-CSRFToken": ahttp.cookies["csrftoken"]}
    changed = await ahttp.patch("/api/me/", json={"about": "Boats"}, headers=token)
    assert changed.json()["about"] == "Boats"
    assert (await ahttp.get("/api/me/")).json()["role"] == "member"


async def test_tokens_are_issued_to_sessions_and_not_to_tokens(
    ahttp: httpx.AsyncClient, by_token: As
) -> None:
    said = problem(await by_token("robin").post("/tokens/", json={"name": "x"}), 403)
    assert "password" in said["detail"]
    await log_in(ahttp, "robin")
    token = {"X-CSRFToken": ahttp.cookies["csrftoken"]}
    made = await ahttp.post("/api/tokens/", json={"name": "Nightly"}, headers=token)
    assert made.status_code == 201, made.text
    bearer = {"Authorization": f"Bearer {made.json()['text']}"}
    async with httpx.AsyncClient(base_url=ahttp.base_url, headers=bearer) as other:
        assert (await other.get("/api/me/")).json()["username"] == "robin"
        path = f"/api/tokens/{made.json()['token']['id']}/"
        assert (await ahttp.delete(path, headers=token)).status_code == 204
        problem(await other.get("/api/me/"), 401)


async def test_roles(by_token: As) -> None:
    guest, member, owner = by_token("guest"), by_token("robin"), by_token("demo")
    person = {"name": "Kit", "email": f"{uuid.uuid4().hex}@example.org", "team": 1}
    person["joined"] = "2025-03-31"
    said = problem(await guest.post("/people/", json=person), 403)
    assert said["detail"] == "This takes the role “Member”."
    problem(await member.post("/products/", json={}), 403)
    made = await member.post("/people/", json=person)
    assert made.status_code == 201, made.text
    path = f"/people/{made.json()['id']}/"
    assert (await guest.get(path)).json()["email"] == person["email"]
    said = problem(await owner.post("/people/", json=person), 409)
    assert said["errors"] == {"email": ["Already taken."]}
    assert (await owner.patch(path, json={"role": "Lead"})).json()["role"] == "Lead"
    assert (await owner.delete(path)).status_code == 204
    problem(await owner.get(path), 404)
    problem(await guest.post("/files/?name=a.txt", content=b"a", headers=BYTES), 403)
    problem(await guest.post("/rooms/", json={"name": "Mine"}), 403)
    problem(await guest.post("/jobs/", json={"kind": "report"}), 403)
    problem(await guest.get("/orders/", params={"whose": "some"}), 400)


BYTES = {"Content-Type": "application/octet-stream"}


async def test_a_file_is_shown_in_a_room_shared_and_deleted(by_token: As) -> None:
    robin, demo = by_token("robin"), by_token("demo")
    problem(await robin.post("/files/?name=a.txt", json={}), 415)
    problem(await robin.post("/files/?name=..", content=b"x", headers=BYTES), 400)
    sent = await robin.post("/files/?name=notes.txt", content=b"by body", headers=BYTES)
    assert sent.status_code == 201, sent.text
    file = sent.json()["id"]
    part = await robin.get(f"/files/{file}/content/", headers={"Range": "bytes=3-"})
    assert (part.status_code, part.content) == (206, b"body")
    problem(await demo.get(f"/files/{file}/content/"), 404)

    key = str(uuid.uuid4())
    message = {"text": "Look @demo", "files": [file], "key": key}
    said = await robin.post("/rooms/general/messages/", json=message)
    assert said.status_code == 201, said.text
    again = await robin.post("/rooms/general/messages/", json=message)
    assert again.json() == said.json()
    number = said.json()["number"]
    history = (await demo.get("/rooms/general/messages/", params={"after": number - 1})).json()
    assert history["messages"][0] == said.json()
    assert history["messages"][0]["mentions"] == ["demo"]
    url = str(demo.base_url).removesuffix("/api/") + said.json()["files"][0]["url"]
    assert (await demo.get(url)).content == b"by body"
    told = (await demo.get("/notices/", params={"unread": "true"})).json()["results"][0]
    assert told["kind"] == "mention"
    read = await demo.post("/rooms/general/read/", json={"number": number})
    assert read.json()["unread"] == 0
    assert (await demo.post("/notices/read/", json={"up_to": told["id"]})).status_code == 204
    assert (await demo.get("/me/")).json()["unread_notices"] == 0

    link = await robin.post(f"/files/{file}/links/", json={"hours": 1})
    assert link.status_code == 201, link.text
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(link.json()["url"])).status_code == 200
        path = f"/files/{file}/links/{link.json()['id']}/"
        assert (await robin.delete(path)).status_code == 204
        assert (await stranger.get(link.json()["url"])).status_code == 410
    assert (await robin.delete(f"/files/{file}/")).status_code == 204
    shown = (await demo.get("/rooms/general/messages/")).json()["messages"][-1]
    assert shown["files"][0]["gone"]


async def test_from_the_catalogue_to_an_order(by_token: As) -> None:
    demo, guest = by_token("demo"), by_token("guest")
    product = await new_product(demo, 3)
    added = await guest.post("/basket/lines/", json={"sku": product["sku"], "quantity": 2})
    assert added.status_code == 200, added.text
    order = {**CUSTOMER, "seen": "what it was", "key": str(uuid.uuid4())}
    problem(await guest.post("/basket/check-out/", json=order), 409)
    order["seen"] = added.json()["mark"]
    placed = await guest.post("/basket/check-out/", json=order)
    assert placed.status_code == 201, placed.text
    assert (await guest.post("/basket/check-out/", json=order)).json() == placed.json()
    assert (await guest.get("/basket/")).json()["lines"] == []

    lines = [{"product": product["id"], "quantity": 1}] * 2
    short = problem(await guest.post("/orders/", json={**CUSTOMER, "lines": lines}), 409)
    assert short["errors"]["products"] == [{"sku": product["sku"], "wanted": 2, "in_stock": 1}]
    path = f"/orders/{placed.json()['reference']}/"
    problem(await by_token("robin").get(path), 404)
    assert (await demo.get(path)).status_code == 200
    cancelled = await guest.post(f"{path}cancel/")
    assert cancelled.json()["status"] == "cancelled"
    problem(await guest.post(f"{path}cancel/"), 409)
    assert (await guest.get(f"/products/{product['id']}/")).json()["stock"] == 3
    change = await demo.post(f"/products/{product['id']}/adjust-stock/", json={"change": -4})
    problem(change, 409)
    # A stock is no field that is written over.
    wrong = {"stock": 9, "name": "A lamp"}
    said = problem(await demo.patch(f"/products/{product['id']}/", json=wrong), 400)
    assert list(said["errors"]) == ["stock"]
    await demo.put(f"/products/{product['id']}/", json={**product, **wrong})
    seen = (await guest.get(f"/products/{product['id']}/")).json()
    assert (seen["stock"], seen["name"]) == (3, "A lamp")


async def test_a_job_is_begun_and_seen_by_its_owner(by_token: As) -> None:
    robin = by_token("robin")
    begun = await robin.post("/jobs/", json={"kind": "report"})
    assert begun.status_code == 201, begun.text
    path = f"/jobs/{begun.json()['id']}/"
    assert (await robin.get(path)).json()["kind"] == "report"
    problem(await by_token("guest").get(path), 404)
    problem(await robin.post("/jobs/", json={"kind": "import"}), 400)
    problem(
        await robin.post("/jobs/", json={"kind": "import", "source": str(uuid.uuid4())}), 403
    )
    assert (await robin.post(f"{path}cancel/")).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"null", b'{"about": NaN}', b"[1e400]", b"\xff", b"[" * 9999]
)
async def test_what_is_no_object_of_json_is_refused(by_token: As, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await by_token("robin").post("/rooms/", content=body, headers=headers), 400)


async def test_bodies_have_a_limit_and_a_type(by_token: As) -> None:
    robin = by_token("robin")
    problem(await robin.post("/rooms/", json={"name": "x" * 70_000}), 413)
    problem(await robin.post("/rooms/", data={"name": "x"}), 415)
    problem(await robin.put("/rooms/", json={}), 405)


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PATCH", "me/", {"role": "owner"}, "There are: first_name, last_name, about."),
        ("POST", "rooms/", {"name": "Boats", "slug": "b"}, "There are: name, topic, is_open."),
        ("POST", "jobs/", {"kind": "dance"}, "Must be one of: import, export, report."),
        ("GET", "orders/?status=gone", None, "Must be one of: placed, cancelled."),
        ("GET", "orders/?page=x", None, "There is no page “x”."),
        ("POST", "basket/lines/", {"sku": "none", "quantity": 1}, "Unknown."),
        ("PUT", "rooms/", {}, "Allowed: GET, POST"),
        ("POST", "rooms/", [], "must be a JSON object"),
        ("POST", "rooms", {}, "each ends in a slash"),
        ("GET", "nowhere/", None, "/api/docs/"),
    ],
)
async def test_what_is_wrong_is_named_with_its_cure(
    by_token: As, method: str, path: str, body: object, said: str
) -> None:
    answer = await by_token("robin").request(method, f"/{path}", json=body)
    problem(answer, answer.status_code)
    assert 400 <= answer.status_code < 500
    assert said in answer.text


async def test_a_slash_that_was_left_out_is_mended(ahttp: httpx.AsyncClient) -> None:
    moved = await ahttp.get("/api/products?q=lamp")
    assert (moved.status_code, moved.headers["Location"]) == (302, "/api/products/?q=lamp")


async def test_the_document_says_what_the_middleware_answers(ahttp: httpx.AsyncClient) -> None:
    document = (await ahttp.get("/api/schema/")).json()
    assert document["openapi"].startswith("3.1")
    for operations in document["paths"].values():
        for operation in operations.values():
            for status in ("401", "429", "503"):
                assert PROBLEM in operation["responses"][status]["content"]


async def test_the_page_to_try_it_has_nothing_of_elsewhere(ahttp: httpx.AsyncClient) -> None:
    moved = await ahttp.get("/api/")
    assert moved.headers["Location"] == "/api/docs/"
    page = await ahttp.get("/api/docs/")
    assert page.status_code == 200
    assert "script-src" not in page.headers["Content-Security-Policy"]  # 'self' by default
    assert "https://" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        path = f"/static/drf_spectacular_sidecar/swagger-ui-dist/{name}"
        assert path in page.text
        assert (await ahttp.get(path)).status_code == 200
    assert (
        (await ahttp.get("/api/docs/?script="))
        .headers["Content-Type"]
        .startswith("application/javascript")
    )


async def test_the_page_to_try_it_says_of_each_operation_what_it_does(
    ahttp: httpx.AsyncClient,
) -> None:
    document = (await ahttp.get("/api/schema/", params={"format": "json"})).json()
    silent = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if isinstance(operation, dict) and not operation.get("summary")
    ]
    assert silent == []
