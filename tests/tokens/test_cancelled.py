"""Requests that are cancelled while their token is looked up, and many at once."""

from __future__ import annotations

import asyncio
from collections import Counter

from django.core.cache import cache

from onloop.testing import LeakLedger
from onloop.tokens.models import Token
from tests.asgi.client import all_of
from tests.asgi.conftest import borrowed
from tests.db.eventually import eventually
from tests.tokens.people import person


async def test_a_token_is_looked_up_cancelled_at_any_wait(ada, cancel_sweep, leak_ledger):
    async def prepare():
        await Token.objects.aupdate(last_used=None)

    async def check(outcome):
        assert borrowed() == {}

    async def authenticate():
        found = await Token.objects.aauthenticate(ada.text)
        assert found == ada.token

    sweep = await cancel_sweep(authenticate, prepare=prepare, check=check)
    assert sweep.runs > 1
    assert await Token.objects.aauthenticate(ada.text)


async def test_a_request_is_cancelled_at_any_wait(project, ada, cancel_sweep, tmp_path):
    application = project.application  # made once, as a server does
    ledger = LeakLedger(temp_folder=tmp_path)
    texts = [ada.text, "onl_bad"]

    def scenario():
        header = {"authorization": f"Bearer {texts[0]}"}
        exchange = project.get("/async/", headers=header.items())
        assert exchange.application is application
        return exchange._serve()

    async def prepare():
        await Token.objects.aupdate(last_used=None)
        cache.clear()
        if not ledger.started:
            ledger.start()

    async def check(outcome):
        assert borrowed() == {}

    while texts:
        await cancel_sweep(scenario, prepare=prepare, check=check)
        del texts[0]
    await ledger.averify()


async def test_a_client_that_leaves_during_the_look_up_holds_nothing(
    project, ada, postgres, db_clean, pg_activity
):
    with db_clean.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE onloop_tokens_token IN ACCESS EXCLUSIVE MODE")
        exchange = project.get("/async/", headers=ada.bearer.items()).start()
        await eventually(lambda: pg_activity("onloop_tokens_token", state="active"))
        exchange.leave()
        await exchange
        assert exchange.messages == []
        assert borrowed() == {}
        other.execute("ROLLBACK")
    assert (await project.get("/async/", headers=ada.bearer.items())).status == 200


async def test_many_requests_at_once_are_each_their_own_user(project, ada):
    people = [ada, *[await person(f"user{number}") for number in range(4)]]
    sent = [
        project.get(f"/{place}/", headers=people[number % 5].bearer.items())
        for number, place in enumerate(["async", "thread", "loop"] * 10)
    ]
    told = [exchange.json() for exchange in await all_of(sent)]
    for number, answer in enumerate(told):
        name = people[number % 5].user.get_username()
        assert (answer["user"], answer["auser"]) == (name, name)
    assert Counter(answer["user"] for answer in told) == dict.fromkeys(
        (each.user.get_username() for each in people), 6
    )


async def test_many_bad_ones_at_once_are_counted(project, ada):
    project.configure(ONLOOP={"BEARER_MAX_FAILURES": 5, "BEARER_FAILURE_WINDOW": 86400})
    bad = [("authorization", "Bearer onl_bad")]
    sent = await all_of(project.get("/async/", headers=bad) for _ in range(20))
    assert Counter(exchange.status for exchange in sent) == {401: 5, 429: 15}


async def test_a_token_is_revoked_while_others_use_it(project, ada):
    async def uses():
        sent = [await project.get("/async/", headers=ada.bearer.items()) for _ in range(5)]
        return [exchange.status for exchange in sent]

    tasks = [asyncio.create_task(uses()) for _ in range(4)]
    await ada.token.arevoke()
    for statuses in await asyncio.gather(*tasks):
        assert statuses == sorted(statuses)  # once refused, always refused
        assert statuses[-1] == 401
