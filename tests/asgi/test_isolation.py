"""Requests that are under way at the same time share nothing that belongs to one of them."""

from __future__ import annotations

import asyncio
import functools
import gc

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, connections, transaction
from django.http import HttpResponse, JsonResponse
from django.template import engines
from django.urls import get_script_prefix, path, reverse
from django.utils import timezone, translation

from onloop import bridge
from onloop.db.scope import Scope
from tests.asgi.client import DEADLINE_S, all_of, pipelined
from tests.project.library.models import Author

MANY = 200
LANGUAGES = ["de", "fr", "es", "pl", "ja"]
ZONES = ["Europe/Berlin", "Asia/Tokyo", "America/Lima", "Africa/Lagos", "UTC"]
PAGE = (
    "{% load i18n tz %}{% get_current_language as language %}"
    "{% get_current_timezone as zone %}{{ language }} {{ zone }}"
)

barrier: asyncio.Barrier


async def meet():
    async with asyncio.timeout(DEADLINE_S):
        await barrier.wait()


# --- views and middleware ---------------------------------------------------------------------


async def everything(request, number):
    """Take on a language, a zone and a user, let all others do the same, then look."""
    translation.activate(LANGUAGES[number % 5])
    timezone.activate(ZONES[number % 5])
    await meet()
    name = request.user.username  # lazy, in an async view
    await meet()
    page = engines["django"].from_string(PAGE).render({}, request)
    return JsonResponse({
        "user": name,
        "auser": (await request.auser()).username,
        "language and zone": page,
        "urlconf": reverse("mine"),
    })  # fmt: skip


async def writes(request, number):
    """Write a row in a transaction; odd ones take it back."""
    try:
        async with transaction.atomic():
            await Author.objects.acreate(name=f"author {number}")
            await asyncio.sleep(0)
            seen = await Author.objects.filter(name__startswith="author").acount()
            depth = len(connection.savepoint_ids)
            if number % 2:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    return JsonResponse({
        "seen": seen, "depth": depth, "open": connection.in_atomic_block,
    })  # fmt: skip


async def as_found(request):
    """What a request finds that has not asked for anything."""
    found = JsonResponse({
        "language": translation.get_language(),
        "zone": timezone.get_current_timezone_name(),
        "prefix": get_script_prefix(),
        "in a block": connection.in_atomic_block,
    })  # fmt: skip
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    return found


async def whose_connection(request):
    seen = id(connections["default"])
    await meet()
    return HttpResponse(str(seen) if seen == id(connections["default"]) else "changed")


class UrlconfByHeader:
    """Every request with a header has addresses of its own."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        number = request.headers.get("x-number")
        if number is not None:
            request.urlconf = addresses_of(int(number))
        return self.get_response(request)


def addresses_of(number):
    return (
        path("everything/", functools.partial(everything, number=number)),
        path(f"{number}/", as_found, name="mine"),
    )


urlpatterns = [
    path("writes/<int:number>/", writes),
    path("as-found/", as_found),
    path("whose-connection/", whose_connection),
]


@pytest.fixture(autouse=True)
async def _barrier():
    global barrier  # noqa: PLW0603 - views are functions of the module
    barrier = asyncio.Barrier(MANY)


async def sessions_of(count):
    """So many users, each with a session; returns the session keys."""

    @transaction.atomic
    def make():
        User.objects.bulk_create(User(username=f"user {n}", password="!") for n in range(count))
        keys = []
        for user in User.objects.order_by("id"):
            session = SessionStore()
            session[SESSION_KEY] = str(user.pk)
            session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
            session[HASH_SESSION_KEY] = user.get_session_auth_hash()
            session.create()
            keys.append(session.session_key)
        return keys

    return await bridge.run(make)


# --- tests ------------------------------------------------------------------------------------


async def test_two_hundred_requests_keep_their_users_languages_zones_and_addresses(
    project, settings_with
):
    project.configure(MIDDLEWARE=settings_with(f"{__name__}.UrlconfByHeader"))
    keys = await sessions_of(MANY)
    answers = await all_of(
        project.get(
            "/everything/",
            headers=[("x-number", str(number))],
            cookies={"sessionid": keys[number]},
        )
        for number in range(MANY)
    )
    assert [answer.json() for answer in answers] == [
        {
            "user": f"user {number}",
            "auser": f"user {number}",
            "language and zone": f"{LANGUAGES[number % 5]} {ZONES[number % 5]}",
            "urlconf": f"/{number}/",
        }
        for number in range(MANY)
    ]


async def test_two_hundred_requests_see_only_their_own_transaction(project):
    answers = await all_of(project.get(f"/writes/{number}/") for number in range(MANY))
    assert {answer.status for answer in answers} == {200}
    assert [answer.json()["depth"] for answer in answers] == [0] * MANY
    assert not any(answer.json()["open"] for answer in answers)
    names = [author.name async for author in Author.objects.order_by("id")]
    assert sorted(names) == sorted(f"author {number}" for number in range(0, MANY, 2))


async def test_requests_at_the_same_time_have_connections_of_their_own(project):
    answers = await all_of(project.get("/whose-connection/") for _ in range(MANY))
    assert len({answer.text for answer in answers} - {"changed"}) == MANY


async def test_a_pipelined_request_finds_nothing_of_the_one_before(project):
    first = project.get("/as-found/", root_path="/mounted")
    answers = await pipelined([first, project.get("/as-found/"), project.get("/as-found/")])
    found = {"language": "en", "zone": "UTC", "prefix": "/", "in a block": False}
    assert [a.json() for a in answers] == [{**found, "prefix": "/mounted/"}, found, found]


async def test_a_pipelined_request_does_not_keep_the_one_before_alive(project):
    def count():
        gc.collect()
        return sum(type(thing) is Scope for thing in gc.get_objects())

    before = count()
    *_, last = await pipelined([project.get("/as-found/") for _ in range(10)])
    del _
    # The task of the last, its scope, and what that may need of the one before.
    assert last.complete
    assert count() <= before + 2


async def test_a_request_is_in_no_transaction_of_its_callers(project):
    async with transaction.atomic():
        answer = await project.get("/as-found/")
    assert answer.json()["in a block"] is False
