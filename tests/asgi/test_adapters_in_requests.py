"""asgiref's adapters and Onloop's in views: where their code runs, and on whose connection."""

from __future__ import annotations

import asyncio
import threading

import asgiref.sync
import pytest
from django.db import connection, transaction
from django.http import HttpResponse, JsonResponse
from django.urls import path

import onloop
from tests.asgi.client import DEADLINE_S, all_of, pipelined
from tests.asgi.conftest import borrowed
from tests.db.eventually import eventually
from tests.project.library.models import Author


def ident():
    return threading.get_ident()


def where():
    """The thread, after a query there."""
    Author.objects.count()
    return threading.get_ident()


async def awhere():
    await Author.objects.acount()
    return threading.get_ident()


def raises():
    raise KeyError("from a thread")


async def two_hops(request):
    hop = asgiref.sync.sync_to_async(where)
    return JsonResponse({"threads": [await hop(), await hop()]})


async def insensitive(request):
    hop = asgiref.sync.sync_to_async(ident, thread_sensitive=False)
    return JsonResponse({"threads": [await hop()]})


async def on_the_loop(request):
    hop = onloop.sync_to_async(where)
    return JsonResponse({"threads": [await hop(), await hop()]})


def from_a_thread(request):
    """A sync view in its thread calls async code, which calls sync code again."""
    back = asgiref.sync.sync_to_async(where)

    async def both():
        return [await awhere(), await back()]

    there = asgiref.sync.async_to_sync(both)()
    return JsonResponse({"view": threading.get_ident(), "loop": there[0], "back": there[1]})


async def to_sync_inside(request):
    """Sync code on the loop that calls async code: asgiref alone refuses that."""

    def plain():
        return asgiref.sync.async_to_sync(awhere)()

    return JsonResponse({"threads": [await onloop.sync_to_async(plain)()]})


async def joins(request):
    """A transaction follows the code through every kind of hop."""
    try:
        async with transaction.atomic():
            await Author.objects.acreate(name="loop")
            seen = [
                await asgiref.sync.sync_to_async(Author.objects.count)(),
                await onloop.sync_to_async(Author.objects.count)(),
                await asyncio.to_thread(Author.objects.count),
                await asyncio.create_task(Author.objects.acount()),
            ]
            await asgiref.sync.sync_to_async(Author.objects.create)(name="thread")
            raise ZeroDivisionError
    except ZeroDivisionError:
        return JsonResponse({"seen": seen, "left": await Author.objects.acount()})


async def error(request):
    try:
        await asgiref.sync.sync_to_async(raises)()
    except KeyError as exc:
        return HttpResponse(exc.args[0])


async def leaves_a_stock_connection(request):
    def ask():
        Author.objects.count()
        return connection.connection is not None

    return HttpResponse(str(await asgiref.sync.sync_to_async(ask)()))


urlpatterns = [
    path("two-hops/", two_hops),
    path("insensitive/", insensitive),
    path("on-the-loop/", on_the_loop),
    path("from-a-thread/", from_a_thread),
    path("to-sync-inside/", to_sync_inside),
    path("joins/", joins),
    path("error/", error),
    path("leaves-a-stock-connection/", leaves_a_stock_connection),
]


async def test_sensitive_code_has_one_thread_for_its_request(project):
    answer = await project.get("/two-hops/")
    first, second = answer.json()["threads"]
    assert first == second != threading.get_ident()


async def test_requests_at_the_same_time_have_threads_of_their_own(project):
    answers = await all_of(project.get("/two-hops/") for _ in range(10))
    assert all(len(set(answer.json()["threads"])) == 1 for answer in answers)


async def test_insensitive_code_has_a_thread_of_the_loops_executor(project):
    answer = await project.get("/insensitive/")
    assert answer.json()["threads"] != [threading.get_ident()]


@pytest.mark.parametrize("path", ["on-the-loop", "to-sync-inside"])
async def test_our_adapters_stay_on_the_loops_thread(project, started_threads, path):
    answer = await project.get(f"/{path}/")
    assert set(answer.json()["threads"]) == {threading.get_ident()}
    assert started_threads == []


async def test_code_goes_from_a_view_in_its_thread_to_the_loop_and_back(project):
    answer = (await project.get("/from-a-thread/")).json()
    assert answer["loop"] == threading.get_ident()
    assert answer["back"] == answer["view"] != threading.get_ident()


async def test_a_transaction_follows_the_code_through_every_hop(project):
    answer = await project.get("/joins/")
    assert answer.json() == {"seen": [1, 1, 1, 1], "left": 0}


async def test_an_exception_comes_back_from_a_thread(project):
    assert (await project.get("/error/")).text == "from a thread"


@pytest.mark.parametrize("path", ["leaves-a-stock-connection", "two-hops", "from-a-thread"])
async def test_a_connection_opened_in_a_requests_thread_is_closed_with_it(
    project, pg_activity, path
):
    answer = await project.get(f"/{path}/")
    assert answer.status == 200
    assert borrowed() == {}

    async def only_those_of_the_pool():
        ours = await asyncio.to_thread(pg_activity, application_name="onloop-tests")
        return len(ours) == connection.pool_stats()["pool_size"]

    await eventually(only_those_of_the_pool)  # a server takes a moment to notice


async def test_no_thread_of_a_request_is_left(project, started_threads):
    await all_of(project.get("/two-hops/") for _ in range(10))
    threads = list(started_threads)
    for thread in threads:
        await asyncio.to_thread(thread.join, DEADLINE_S)
    assert (len(threads), any(thread.is_alive() for thread in threads)) == (10, False)


async def test_a_pipelined_request_has_a_thread_of_its_own(project, started_threads):
    answers = await pipelined([project.get("/two-hops/") for _ in range(3)])
    threads = list(started_threads)
    for thread in threads:
        await asyncio.to_thread(thread.join, DEADLINE_S)
    assert len(threads) == len(answers)
