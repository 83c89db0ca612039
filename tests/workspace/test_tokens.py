"""Bearer tokens of the example service: issued by the command, used in place of a session."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

import httpx
import pytest

from tests.workspace import tokens


@pytest.fixture
def bearer_tokens(workspace_env: dict[str, str]) -> Callable[..., str]:
    return partial(tokens.bearer_tokens, workspace_env)


async def test_a_token_does_what_a_session_does_until_it_is_revoked(
    ahttp: httpx.AsyncClient, bearer_tokens: Callable[..., str]
) -> None:
    text = bearer_tokens("issue", "demo", "--name", "a test", "--expires", "1h").strip()
    bearer = {"authorization": f"Bearer {text}", "accept": "application/json"}
    new = {"name": f"Lanterns {text[-4:]}", "slug": uuid.uuid4().hex}
    assert (await ahttp.post("/api/categories/", json=new)).status_code == 401
    made = await ahttp.post("/api/categories/", json=new, headers=bearer)
    assert made.status_code == 201, made.text
    me = await ahttp.patch("/accounts/me/", json={"last_name": "Token"}, headers=bearer)
    assert (me.status_code, me.json()["username"]) == (200, "demo")
    assert not ahttp.cookies.get("sessionid")
    (line,) = [line for line in bearer_tokens("list").splitlines() if text[:20] in line]
    assert line.split("\t")[1:4] == ["demo", "a test", "valid"]

    bearer_tokens("revoke", text[:20])
    refused = await ahttp.get("/api/products/", headers=bearer)
    assert refused.status_code == refused.json()["status"] == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


async def test_nobody_needs_a_token(ahttp: httpx.AsyncClient) -> None:
    for path in ("/", "/catalogue/", "/people/", "/api/products/", "/accounts/login/"):
        assert (await ahttp.get(path)).status_code == 200
