"""Forms that are sent by somebody who is not logged in any more, or twice."""

from __future__ import annotations

import re
import uuid

import httpx

from tests.workspace.members import log_in

NOBODYS = uuid.uuid4()
MAX_TABLE = 5 * 2**20  # bytes of a file to import


FORMS = [
    "/rooms/kitchen/join/",
    "/rooms/general/leave/",
    "/rooms/general/settings/",
    "/rooms/general/archive/",
    "/rooms/general/members/1/remove/",
    "/files/{file}/delete/",
    "/files/{file}/share/",
    f"/files/{{file}}/links/{NOBODYS}/revoke/",
    "/jobs/{job}/cancel/",
    "/jobs/{job}/retry/",
    "/accounts/tokens/1/revoke/",
    "/notices/read/",
    "/basket/change/",
    "/orders/{order}/cancel/",
    "/catalogue/item/{item}/stock/",
]


async def test_the_log_in_on_the_way_of_a_form_comes_back_to_its_page(
    ahttp: httpx.AsyncClient,
) -> None:
    await log_in(ahttp, "demo")
    ids = {
        "file": await first(ahttp, "/files/", r"/files/([0-9a-f-]{36})/about/"),
        "order": await first(ahttp, "/orders/", r"/orders/([0-9a-f-]{36})/"),
        "item": await first(ahttp, "/catalogue/", r"/catalogue/item/([^/]+)/"),
        "job": await begun(ahttp),
    }
    form = {"csrfmiddlewaretoken": ahttp.cookies["csrftoken"]}
    session = ahttp.cookies.get("sessionid")
    ahttp.cookies.delete("sessionid")
    ways = [await ahttp.post(address.format(**ids), data=form) for address in FORMS]
    back = [way.headers["Location"].partition("/accounts/login/?next=")[2] for way in ways]
    assert all(back), ways
    ahttp.cookies.set("sessionid", session or "")
    for address in back:
        page = await ahttp.get(address, follow_redirects=True)
        assert (page.status_code, "<h1" in page.text) == (200, True), page.url


async def first(client: httpx.AsyncClient, page: str, pattern: str) -> str:
    found = re.search(pattern, (await client.get(page)).text)
    assert found is not None, page
    return found[1]


async def begun(client: httpx.AsyncClient) -> str:
    form = {"kind": "report", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    answer = await client.post("/jobs/", data=form)
    return answer.headers["Location"].split("/")[-2]


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_what_is_too_large_is_refused_by_a_page_to_people(
    ahttp: httpx.AsyncClient,
) -> None:
    await log_in(ahttp, "demo")
    form = {"kind": "import", "csrfmiddlewaretoken": ahttp.cookies["csrftoken"]}
    file = {"file": ("large.csv", b"x" * (MAX_TABLE + 2**20), "text/csv")}
    shown = await ahttp.post("/jobs/", data=form, files=file, headers=BROWSER)
    assert shown.status_code == 413
    assert "<h1>That is too large</h1>" in shown.text
    bare = await ahttp.post("/jobs/", data=form, files=file)
    assert (bare.status_code, "<h1" in bare.text) == (413, False)


async def test_who_opens_what_takes_only_forms_is_shown_a_page(
    ahttp: httpx.AsyncClient,
) -> None:
    await log_in(ahttp, "demo")
    shown = await ahttp.get("/accounts/logout/", headers=BROWSER)
    assert (shown.status_code, shown.headers["Allow"]) == (405, "POST, OPTIONS")
    assert "<h1>That is done by a button</h1>" in shown.text
    bare = await ahttp.get("/accounts/logout/")
    assert (bare.status_code, bare.text) == (405, "")
    assert (await ahttp.get("/accounts/profile/")).status_code == 200
