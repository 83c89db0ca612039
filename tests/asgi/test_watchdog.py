"""The watchdog in requests: what blocks is named with its request and its cure."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from django.views import View

import onloop
from onloop import watchdog
from onloop.testing import LeakLedger
from tests.asgi.client import Lifespan
from tests.db.eventually import eventually
from tests.project.library.models import Author
from tests.stalls import only_of, without_stops

STALL_MS = 100
# How long something blocks that is to be named, however busy the machine is.
BLOCK_S = 0.6

pytestmark = pytest.mark.usefixtures("fresh_watchdog")

ASYNC = "asgiref.sync.sync_to_async"


def blocks(request):
    time.sleep(BLOCK_S)
    return HttpResponse("done")


@onloop.on_loop
def marked(request):
    time.sleep(BLOCK_S)
    return HttpResponse("done")


class Blocks(View):
    def get(self, request, number):
        return self.answer()

    def answer(self):
        Author.objects.count()
        time.sleep(BLOCK_S)
        return HttpResponse("done")


async def asynchronous(request):
    await Author.objects.acount()
    time.sleep(BLOCK_S)
    return HttpResponse("done")


class SlowToShow:
    def __repr__(self):
        time.sleep(BLOCK_S)
        return "shown"


async def fails(request):
    shown = SlowToShow()
    raise ZeroDivisionError(f"beside {type(shown).__name__}")


async def quick(request):
    return HttpResponse("quick")


async def in_a_task(request):
    await asyncio.create_task(asynchronous(request))
    return HttpResponse("done")


async def holds_a_row(request):
    async with transaction.atomic():
        await Author.objects.filter(name="A. Loop").aupdate(name="A. Loop")
        held.set()
        await asyncio.sleep(1.5)
    return HttpResponse("done")


async def waits_for_the_row(request):
    await held.wait()
    await Author.objects.filter(name="A. Loop").aupdate(name="A. Loop")
    return HttpResponse("done")


held = asyncio.Event()

urlpatterns = [
    path("blocks/", blocks),
    path("marked/", marked),
    path("class/<int:number>/", Blocks.as_view()),
    path("asynchronous/", asynchronous),
    path("task/", in_a_task),
    path("fails/", fails),
    path("quick/", quick),
    path("holds/", holds_a_row),
    path("waits/", waits_for_the_row),
]


def blocking_function(get_response):
    def middleware(request):
        time.sleep(BLOCK_S)
        return get_response(request)

    return middleware


def quick_function(get_response):
    def middleware(request):
        return get_response(request)

    return middleware


class BlockingClass:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        time.sleep(BLOCK_S)
        return response


class BlockingHook(BlockingClass):
    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        time.sleep(BLOCK_S)


class AsyncBlocking(BlockingClass):
    async def __call__(self, request):
        time.sleep(BLOCK_S)
        return await self.get_response(request)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == watchdog.NAME]


@pytest.fixture
def lines(caplog):
    """`await lines()`: what the watchdog says, once it has said all."""
    caplog.set_level(logging.INFO, logger="onloop.watchdog")

    async def said():
        await eventually(lambda: not threads(), "the end of the watchdog")
        return [r.getMessage() for r in caplog.records if r.name == "onloop.watchdog"]

    return said


def at(function):
    """Where the `time.sleep` of a function stands."""
    source, first = inspect.getsourcelines(function)
    line = first + next(number for number, text in enumerate(source) if "time.sleep" in text)
    return f"{__file__}:{line}, in {function.__qualname__}, held the event loop"


def in_thread(name):
    return f'add "{__name__}.{name}" to ONLOOP["IN_THREAD"]'


@pytest.mark.parametrize(
    ("url", "code", "cure"),
    [
        ("/blocks/", blocks, in_thread("blocks")),
        ("/marked/", marked, "mark the view @onloop.in_thread in place of @onloop.on_loop"),
        ("/class/5/", Blocks.answer, in_thread("Blocks")),
        ("/asynchronous/", asynchronous, ASYNC),
    ],
)
async def test_a_view_that_blocks_is_named(project, lines, url, code, cure):
    project.configure(ONLOOP={"SYNC_VIEWS": "loop", "STALL_MS": STALL_MS})
    assert (await project.get(url)).text == "done"
    line = only_of(await lines(), at(code))
    assert "blocked in time.sleep(BLOCK_S)." in line
    assert f"Request: GET {url}. Cure: " in line
    assert cure in line
    assert (ASYNC in line) == (cure == ASYNC)
    if watchdog.stalls().count == 1:  # else the process was stopped somewhere, too
        last = watchdog.stalls().last
        assert (last.file, last.request) == (__file__, f"GET {url}")


async def test_the_cure_of_a_view_is_one(project, lines):
    project.configure(
        ONLOOP={"SYNC_VIEWS": "loop", "STALL_MS": 400, "IN_THREAD": [f"{__name__}.blocks"]}
    )
    await project.get("/blocks/")
    assert without_stops(await lines()) == []


@pytest.mark.parametrize(
    ("middleware", "code", "cure"),
    [
        ("blocking_function", None, in_thread("blocking_function")),
        ("BlockingClass", BlockingClass.__call__, in_thread("BlockingClass")),
        ("BlockingHook", BlockingHook.process_view, in_thread("BlockingHook")),
        ("AsyncBlocking", AsyncBlocking.__call__, ASYNC),
    ],
)
async def test_a_middleware_that_blocks_is_named(
    project, lines, settings_with, middleware, code, cure
):
    project.configure(
        MIDDLEWARE=settings_with(f"{__name__}.{middleware}"), ONLOOP={"STALL_MS": STALL_MS}
    )
    assert (await project.get("/quick/")).text == "quick"
    line = only_of(await lines(), f"in {middleware}.")
    assert line.startswith(at(code) if code else f"{__file__}:")
    assert "Request: GET /quick/. Cure: " in line
    assert cure in line
    assert (ASYNC in line) == (cure == ASYNC)


async def test_a_view_behind_middleware_in_a_thread_is_named_with_its_request(project, lines):
    name = f"{__name__}.quick_function"
    project.configure(
        MIDDLEWARE=[name],
        ONLOOP={"SYNC_VIEWS": "loop", "STALL_MS": STALL_MS, "IN_THREAD": [name]},
    )
    assert (await project.get("/blocks/")).text == "done"
    assert "Request: GET /blocks/. Cure: " in only_of(await lines(), at(blocks))


async def test_djangos_page_for_an_error_blames_no_middleware(project, lines):
    project.configure(ONLOOP={"STALL_MS": STALL_MS}, DEBUG=True)
    assert (await project.get("/fails/")).status == 500
    line = only_of(await lines(), at(SlowToShow.__repr__))
    assert "Cure: mend the error that Django makes this page about" in line


async def test_a_task_of_a_view_that_blocks_is_named(project, lines):
    project.configure(ONLOOP={"STALL_MS": STALL_MS})
    await project.get("/task/")
    assert only_of(await lines(), at(asynchronous))


async def test_a_path_cannot_write_lines_into_the_log(project, lines):
    project.configure(ONLOOP={"STALL_MS": STALL_MS})
    project.configure(MIDDLEWARE=[f"{__name__}.BlockingClass"])
    await project.get("/no\nthing/" + "a" * 500)
    line = only_of(await lines(), "in BlockingClass.")
    assert "\n" not in line
    assert r"GET /no\nthing/aaa" in line
    assert len(line) < 1000


async def test_a_sync_view_in_its_thread_is_not_named(project, lines):
    project.configure(ONLOOP={"STALL_MS": 400})
    assert (await project.get("/blocks/")).text == "done"
    assert threads()
    assert without_stops(await lines()) == []


async def test_a_query_that_waits_is_not_named(project, lines):
    held.clear()
    project.configure(ONLOOP={"STALL_MS": 1000})
    await Author.objects.acreate(name="A. Loop")
    first, second = project.get("/holds/").start(), project.get("/waits/").start()
    assert [(await first).text, (await second).text] == ["done", "done"]
    assert without_stops(await lines()) == []


async def test_switched_off_nothing_is_named(project, lines):
    project.configure(ONLOOP={"STALL_MS": 0})
    await project.get("/asynchronous/")
    assert threads() == []
    assert (await lines(), watchdog.stalls().count) == ([], 0)


async def test_a_place_is_named_once_a_minute_and_the_rest_counted(project, lines, monkeypatch):
    project.configure(ONLOOP={"STALL_MS": STALL_MS})
    for _ in range(3):
        await project.get("/asynchronous/")
    assert only_of(await lines(), at(asynchronous))
    assert watchdog.stalls().count >= 3
    monkeypatch.setattr(watchdog, "QUIET_S", 0)  # the minute is over
    await project.get("/asynchronous/")
    _, line = [line for line in await lines() if at(asynchronous) in line]
    assert re.search(r"It did so [2-9] more times since it was last named\.$", line)


async def test_requests_leave_no_thread(project, tmp_path):
    await project.get("/quick/")  # what is opened once
    await eventually(lambda: not threads(), "the end of the watchdog")
    async with LeakLedger(databases=(), temp_folder=tmp_path):
        await project.get("/quick/")
        assert threads()


async def test_a_lifespan_is_watched_until_it_ends(project, monkeypatch, lines):
    monkeypatch.setattr(watchdog, "LINGER_S", 0.01)
    project.configure(ONLOOP={"STALL_MS": STALL_MS})
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    (thread,) = threads()
    await asyncio.sleep(0.3)
    assert threads() == [thread]
    # In no request, and so with fewer looks.
    time.sleep(BLOCK_S + 2 * watchdog.MAX_LOOK_S)
    monkeypatch.setattr(watchdog, "LINGER_S", 60)  # it does not linger now
    await lifespan.shutdown()
    assert only_of(await lines(), "Request: none that is known.")


async def test_a_request_ends_the_rest_of_a_process_that_waits_for_one(
    project, monkeypatch, lines
):
    monkeypatch.setattr(watchdog, "MAX_LOOK_S", 3600)
    project.configure(ONLOOP={"STALL_MS": STALL_MS})
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    (watch,) = watchdog._dog.watches.values()
    await eventually(lambda: watch.due > time.monotonic() + 0.5, "the rest")
    await project.get("/asynchronous/")
    await lifespan.shutdown()
    assert only_of(await lines(), at(asynchronous))


async def test_the_leak_ledger_does_not_take_it_for_a_leak(project, fresh_watchdog, tmp_path):
    async with LeakLedger(temp_folder=tmp_path, databases=[]):
        await project.get("/quick/")
        assert watchdog.NAME in {thread.name for thread in threading.enumerate()}
