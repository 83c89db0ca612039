"""Tickets: who has one may open one socket, once and soon, and nothing of it is stored."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.db.models.signals import pre_delete
from django.test import override_settings
from django.urls import path
from django.utils import timezone

import onloop
from onloop import bridge
from onloop.channels import issue_ticket
from onloop.tokens import views
from onloop.tokens.models import Ticket
from tests.project.settings import MIDDLEWARE
from tests.tokens.people import OURS, person

urlpatterns = [path("ticket/", views.ticket)]


@pytest.fixture
async def ann(db_clean):
    return await User.objects.acreate_user("ann")


async def test_a_ticket_is_good_for_once(ann):
    text = await issue_ticket(ann)
    assert re.fullmatch(r"onlt_[0-9A-Za-z]{43}", text)
    assert await Ticket.objects.ause(text) == ann
    assert await Ticket.objects.ause(text) is None
    assert not await Ticket.objects.aexists()


class ReadsElsewhere:
    """As of a project whose replica lags: it is never asked in these tests."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


async def test_a_replica_that_lags_does_not_have_to_know_it(ann):
    with override_settings(DATABASE_ROUTERS=[ReadsElsewhere()]):
        assert await Ticket.objects.ause(await issue_ticket(ann)) == ann


async def test_only_a_hash_is_stored(ann):
    text = await issue_ticket(ann)
    ticket = await Ticket.objects.aget()
    assert text[5:15] not in "".join(map(str, vars(ticket).values()))


async def test_synchronous_code_has_it_too(ann):
    def issue_and_use():
        try:
            return Ticket.objects.use(Ticket.objects.issue(ann))
        finally:
            connections.close_all()

    assert await asyncio.to_thread(issue_and_use) == ann


async def use_at_once(text, tries):
    async def use():
        async with onloop.scope():
            await ready.wait()
            return await Ticket.objects.ause(text)

    ready = asyncio.Barrier(tries)
    return await asyncio.gather(*(use() for _ in range(tries)))


@pytest.mark.parametrize("with_signal", [False, True])
async def test_of_eight_who_use_it_at_once_one_gets_in(ann, with_signal):
    """With receivers of `pre_delete`, Django deletes in another way."""

    def receiver(**kwargs):
        pass

    if with_signal:
        pre_delete.connect(receiver, sender=Ticket)
    try:
        for _ in range(10):
            users = await use_at_once(await issue_ticket(ann), 8)
            assert sorted(map(str, users)) == ["None"] * 7 + ["ann"]
    finally:
        pre_delete.disconnect(receiver, sender=Ticket)


@contextlib.contextmanager
def meeting_before_the_delete(wait):
    """Both have read the row, before either deletes it."""

    def meet(execute, sql, params, many, context):
        if sql.startswith("DELETE"):
            wait()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meet):
        yield


@pytest.mark.only_on("postgresql")  # on SQLite, writers stand in line before that
async def test_of_two_tasks_that_have_found_it_one_uses_it_up(ann):
    def use():
        with meeting_before_the_delete(lambda: bridge.await_(both.wait())):
            return Ticket.objects.use(text)

    async def task():
        async with onloop.scope():
            return await bridge.run(use)

    both = asyncio.Barrier(2)
    text = await issue_ticket(ann)
    users = await asyncio.gather(task(), task())
    assert sorted(map(str, users)) == ["None", "ann"]


async def test_of_two_threads_that_have_found_it_one_uses_it_up(ann):
    def use():
        try:
            with meeting_before_the_delete(lambda: both.wait(90)):
                return Ticket.objects.use(text)
        finally:
            connections.close_all()

    both = threading.Barrier(2)
    text = await issue_ticket(ann)
    users = await asyncio.gather(asyncio.to_thread(use), asyncio.to_thread(use))
    assert sorted(map(str, users)) == ["None", "ann"]


async def test_it_is_good_for_as_long_as_the_setting_says(ann):
    with override_settings(ONLOOP={"SOCKET_TICKET_LIFETIME": 7}):
        before = timezone.now()
        await issue_ticket(ann)
    ticket = await Ticket.objects.aget()
    assert before < ticket.expires - timedelta(seconds=7) <= timezone.now()


async def test_one_that_has_expired_is_not_valid_and_gone(ann):
    text = await issue_ticket(ann)
    await Ticket.objects.aupdate(expires=timezone.now())
    assert await Ticket.objects.ause(text) is None
    assert not await Ticket.objects.aexists()


async def test_the_next_one_clears_those_of_its_user_that_expired(ann):
    bob = await User.objects.acreate_user("bob")
    for user in (ann, ann, bob):
        await issue_ticket(user)
    await Ticket.objects.aupdate(expires=timezone.now())
    kept = await issue_ticket(ann)
    assert await Ticket.objects.filter(user=ann).acount() == 1
    assert await Ticket.objects.filter(user=bob).acount() == 1
    assert await Ticket.objects.ause(kept) == ann


async def test_a_user_that_is_not_active_any_more_has_none(ann):
    text = await issue_ticket(ann)
    await User.objects.aupdate(is_active=False)
    assert await Ticket.objects.ause(text) is None


async def test_tickets_go_with_their_user(ann):
    text = await issue_ticket(ann)
    await ann.adelete()
    assert await Ticket.objects.ause(text) is None


@pytest.mark.parametrize("text", ["", "onlt_", "onlt_" + "a" * 43, "\x00", "onl_" + "a" * 60])
async def test_what_is_none_is_none(ann, text):
    await issue_ticket(ann)
    assert await Ticket.objects.ause(text) is None
    assert await Ticket.objects.acount() == 1


# --- the view ---------------------------------------------------------------------------------


@pytest.fixture
def site(project):
    project.configure(ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE)
    return project


def post(site, cookies):
    secret = "a" * 32
    headers = [("x-csrftoken", secret)]
    return site.post("/ticket/", cookies={**cookies, "csrftoken": secret}, headers=headers)


async def test_the_view_gives_one_to_who_is_logged_in(site, session):
    answer = await post(site, session)
    assert answer.status == 200
    assert answer.json()["expires_in"] == 30
    assert answer.headers("cache-control") == ["no-store"]
    assert (await Ticket.objects.ause(answer.json()["ticket"])).username == "bob"


async def test_the_view_gives_one_to_who_has_a_token(site):
    site.configure(MIDDLEWARE=[*MIDDLEWARE, OURS])
    ada = await person("ada")
    answer = await site.post("/ticket/", headers=ada.bearer.items())
    assert (await Ticket.objects.ause(answer.json()["ticket"])).username == "ada"


async def test_and_to_nobody_else(site, session):
    assert (await post(site, {})).status == 401
    assert (await site.post("/ticket/", cookies=session)).status == 403  # no CSRF token
    assert (await site.get("/ticket/", cookies=session)).status == 405
    assert not await Ticket.objects.aexists()
