"""Synchronous middleware that a setting sends to the request's thread."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

import onloop
from tests.asgi.client import DEADLINE_S
from tests.asgi.middleware import KINDS, chain
from tests.loops import steps
from tests.project.library.models import Author

MIDDLEWARE = "tests.asgi.middleware"
SYNC = ["sync function", "sync-only function", "mixin"]
note = threading.local()
waiting: list[asyncio.Event] = []
seen: list[object] = []


@pytest.fixture(autouse=True)
def _fresh():
    waiting.clear()
    seen.clear()


async def view(request):
    await Author.objects.acount()
    return HttpResponse(", ".join([*request.passed, f"view: {onloop.where()}"]))


def sync_view(request):
    Author.objects.count()
    name = threading.current_thread().name
    return HttpResponse(", ".join([*request.passed, f"view on {name}"]))


async def waits(request):
    waiting.append(asyncio.Event())
    try:
        await waiting[-1].wait()
    finally:
        seen.append("the view ended")
    return HttpResponse()


async def template(request):
    text = engines["django"].from_string("{{ seen }}")
    return TemplateResponse(request, text, {"seen": ""})


async def raises(request):
    raise ZeroDivisionError("on purpose")


async def writes(request):
    await Author.objects.acreate(name="of the view")
    return HttpResponse(f"{connection.in_atomic_block}")


def reads_note(request):
    return HttpResponse(getattr(note, "text", "nothing"))


urlpatterns = [
    path("view/", view),
    path("sync-view/", sync_view),
    path("waits/", waits),
    path("template/", template),
    path("raises/", raises),
    path("writes/", writes),
    path("note/", reads_note),
]


def rolls_back(get_response):
    def middleware(request):
        with transaction.atomic():
            response = get_response(request)
            transaction.set_rollback(True)
        seen.append(Author.objects.count())
        return response

    return middleware


def takes_note(get_response):
    def middleware(request):
        note.text = "of the middleware"
        return get_response(request)

    return middleware


def tells_what_comes(get_response):
    def middleware(request):
        try:
            return get_response(request)
        except BaseException as exc:
            seen.append(type(exc))
            raise

    return middleware


class TellsWhere(MiddlewareMixin):
    def process_request(self, request):
        seen.append((onloop.where(), threading.current_thread().name))


def places(answer):
    """Where each of the chain ran, by its name: "loop" or "thread"."""
    loop = threading.current_thread().name
    return {
        name: "loop" if where == loop else "thread"
        for name, _, where in (entry.partition(" on ") for entry in answer.text.split(", "))
    }


@pytest.mark.parametrize(
    "order", [tuple(KINDS), *itertools.islice(itertools.permutations(KINDS), 99, None, 40_000)]
)
async def test_all_that_has_a_sync_side_is_in_one_thread(
    project, settings_with, started_threads, order
):
    project.configure(
        MIDDLEWARE=settings_with(*chain(*order)), ONLOOP={"IN_THREAD": [MIDDLEWARE]}
    )
    answer = await project.get("/sync-view/")
    assert answer.status == 200
    passed = answer.headers("x-passed")[0].split(", ")
    assert [name.removesuffix(": sync side") for name in passed] == list(order)
    found = places(answer)
    assert found["view"] == "thread"
    assert {name for name, where in found.items() if where == "loop"} == {
        "async function",
        "class without flags",
        "async class",
        "async process_view",
        "in a task",
    }
    assert len(started_threads) == 1


async def test_an_async_view_stays_on_the_loop(project, settings_with, started_threads):
    project.configure(
        MIDDLEWARE=settings_with(*chain(*SYNC)), ONLOOP={"IN_THREAD": [MIDDLEWARE]}
    )
    answer = await project.get("/view/")
    assert answer.text.endswith("view: bridge")
    assert places(answer)["mixin"] == "thread"
    assert len(started_threads) == 1


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"IN_THREAD": [f"{__name__}.TellsWhere"]}, "thread"),
        ({"IN_THREAD": ["tests"]}, "thread"),
        ({"IN_THREAD": ["tests"], "ON_LOOP": [__name__]}, "bridge"),
        ({"IN_THREAD": ["test"]}, "bridge"),
        ({"SYNC_VIEWS": "thread"}, "bridge"),
    ],
)
async def test_the_longest_prefix_decides(project, settings, where):
    project.configure(MIDDLEWARE=[f"{__name__}.TellsWhere"], ONLOOP=settings)
    await project.get("/writes/")
    assert [place for place, _ in seen] == [where]


async def test_hooks_run_in_the_thread_too(project, exceptions):
    project.configure(
        MIDDLEWARE=chain("mixin", "async class"), ONLOOP={"IN_THREAD": [MIDDLEWARE]}
    )
    answer = await project.get("/view/")
    found = places(answer)
    assert (found["mixin"], found["process_view"]) == ("thread", "thread")
    assert (found["async class"], found["async process_view"]) == ("loop", "loop")
    assert (await project.get("/template/")).text == "async sync "
    answer = await project.get("/raises/")
    assert answer.text == "hook: ZeroDivisionError('on purpose')"
    assert exceptions == []


@pytest.mark.parametrize("query", ["stop", "stop-view"])
async def test_a_hook_that_answers_keeps_the_view_from_being_called(project, query):
    project.configure(MIDDLEWARE=chain("mixin"), ONLOOP={"IN_THREAD": [MIDDLEWARE]})
    answer = await project.get("/raises/", query=query)
    assert answer.text.startswith("stopped by")


async def test_a_sync_view_sees_what_the_middleware_left_in_its_thread(project):
    project.configure(
        MIDDLEWARE=[f"{__name__}.takes_note"], ONLOOP={"IN_THREAD": [f"{__name__}.takes_note"]}
    )
    assert (await project.get("/note/")).text == "of the middleware"


async def test_an_exception_of_the_view_is_a_response_for_the_middleware(project, exceptions):
    project.configure(
        MIDDLEWARE=[f"{__name__}.tells_what_comes"], ONLOOP={"IN_THREAD": [__name__]}
    )
    assert (await project.get("/raises/")).status == 500
    assert seen == []
    assert [type(exc) for exc in exceptions] == [ZeroDivisionError]


async def test_the_view_is_inside_of_the_middlewares_transaction(project):
    project.configure(
        MIDDLEWARE=[f"{__name__}.rolls_back"],
        ONLOOP={"IN_THREAD": [f"{__name__}.rolls_back"]},
    )
    answer = await project.get("/writes/")
    assert (answer.status, answer.text) == (200, "True")
    assert seen == [0]
    assert await Author.objects.acount() == 0


async def test_requests_do_not_wait_for_each_other(project):
    project.configure(
        MIDDLEWARE=[f"{__name__}.tells_what_comes"], ONLOOP={"IN_THREAD": [__name__]}
    )
    exchanges = [project.get("/waits/").start() for _ in range(20)]
    async with asyncio.timeout(DEADLINE_S):
        while len(waiting) < len(exchanges):
            await asyncio.sleep(0.01)
    for event in waiting:
        event.set()
    for exchange in exchanges:
        await exchange
    assert [exchange.status for exchange in exchanges] == [200] * 20


@pytest.mark.parametrize("middleware", ["tells_what_comes", "TellsWhere"])
async def test_a_client_that_leaves_ends_the_view_inside(project, middleware):
    project.configure(MIDDLEWARE=[f"{__name__}.{middleware}"], ONLOOP={"IN_THREAD": [__name__]})
    exchange = project.get("/waits/").start()
    async with asyncio.timeout(DEADLINE_S):
        while not waiting:
            await asyncio.sleep(0.01)
    exchange.leave()
    await exchange
    assert "the view ended" in seen
    assert exchange.messages == []


async def test_a_server_that_cancels_twice_ends_the_view_inside(project):
    project.configure(
        MIDDLEWARE=[f"{__name__}.tells_what_comes"], ONLOOP={"IN_THREAD": [__name__]}
    )
    exchange = project.get("/waits/").start()
    async with asyncio.timeout(DEADLINE_S):
        while not waiting:
            await asyncio.sleep(0.01)
    exchange.task.cancel()
    await steps()
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert seen[0] == "the view ended"
