"""Start-up and shutdown of the project with its server."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from django.db import connections
from django.http import HttpResponse
from django.urls import path

from onloop.asgi.admission import admission_of
from onloop.db import pools
from tests.asgi.client import Lifespan
from tests.asgi.conftest import borrowed
from tests.conftest import HTTP_TIMEOUT_S
from tests.db.eventually import eventually
from tests.postgres import ServerFailed, free_port
from tests.project.library.models import Author
from tests.servers import Serving, start

events: list[str] = []


@pytest.fixture(autouse=True)
def _no_events():
    events.clear()


@asynccontextmanager
async def first():
    events.append("first entered")
    try:
        yield
    finally:
        events.append("first left")


@asynccontextmanager
async def second():
    events.append(f"second entered, {await Author.objects.acount()} authors")
    yield
    # The lazy way, in a plain `async def`.
    events.append(f"second left, {len(Author.objects.all())} authors")


@asynccontextmanager
async def fails():
    raise ZeroDivisionError("this hook fails")
    yield


@asynccontextmanager
async def fails_at_the_end():
    yield
    raise ZeroDivisionError("this hook fails")


class InItsOwnTask:
    """Notices when it is left in another task than it was entered in, as anyio's groups do."""

    async def __aenter__(self):
        self.task = asyncio.current_task()

    async def __aexit__(self, *exc):
        events.append("same task" if asyncio.current_task() is self.task else "another task")


async def count(request):
    return HttpResponse(str(await Author.objects.acount()))


async def plain(request):
    return HttpResponse("hello")


async def user(request):
    return HttpResponse(request.user.username)


async def cleans_up(request):
    """A view that is cancelled and takes a moment to end."""
    try:
        await asyncio.Event().wait()
    finally:
        events.append("view is cancelled")
        for _ in range(5):
            await Author.objects.acount()
        events.append("view has ended")


urlpatterns = [
    path("count/", count),
    path("plain/", plain),
    path("user/", user),
    path("cleans-up/", cleans_up),
]


def hooks(*names):
    return {"LIFESPAN": [f"{__name__}.{name}" for name in names]}


def open_connections():
    """How many connections the pools of this loop have, by alias."""
    return {
        pool.name: pool.stats()["pool_size"]
        for pool in pools.pools_of(asyncio.get_running_loop())
    }


# --- hooks ------------------------------------------------------------------------------------


async def test_hooks_are_entered_in_order_and_left_in_reverse(project):
    project.configure(ONLOOP=hooks("first", "second"))
    lifespan = Lifespan(project.application)
    assert await lifespan.startup() == {"type": "lifespan.startup.complete"}
    assert await lifespan.shutdown() == {"type": "lifespan.shutdown.complete"}
    assert events == [
        "first entered",
        "second entered, 0 authors",
        "second left, 0 authors",
        "first left",
    ]


async def test_a_hook_is_left_in_the_task_that_it_was_entered_in(project):
    project.configure(ONLOOP=hooks("InItsOwnTask"))
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    await lifespan.shutdown()
    assert events == ["same task"]


async def test_a_hook_that_fails_fails_the_start_and_leaves_the_others(project):
    project.configure(ONLOOP=hooks("first", "fails", "second"))
    reply = await Lifespan(project.application).startup()
    assert reply == {
        "type": "lifespan.startup.failed", "message": "ZeroDivisionError: this hook fails",
    }  # fmt: skip
    assert events == ["first entered", "first left"]


async def test_a_hook_that_cannot_be_imported_fails_the_start(project):
    project.configure(ONLOOP={"LIFESPAN": ["tests.nowhere.hook"]})
    reply = await Lifespan(project.application).startup()
    assert reply["type"] == "lifespan.startup.failed"
    assert "ONLOOP[\"LIFESPAN\"]: 'tests.nowhere.hook' cannot be imported" in reply["message"]


async def is_no_context_manager():
    """A coroutine function without the decorator that its project forgot."""


async def test_a_hook_that_is_no_context_manager_is_named_with_the_cure(project):
    project.configure(ONLOOP=hooks("is_no_context_manager"))
    reply = await Lifespan(project.application).startup()
    assert reply["type"] == "lifespan.startup.failed"
    assert "is_no_context_manager() must return an async context manager" in reply["message"]
    assert "@contextlib.asynccontextmanager" in reply["message"]


async def test_a_hook_that_fails_at_the_end_keeps_no_other_from_being_left(project):
    project.configure(ONLOOP=hooks("first", "fails_at_the_end"))
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    reply = await lifespan.shutdown()
    assert reply["type"] == "lifespan.shutdown.failed"
    assert events == ["first entered", "first left"]
    assert open_connections() == {}


async def test_hooks_are_left_when_the_server_cancels_the_lifespan(project):
    project.configure(ONLOOP=hooks("first", "second"))
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    lifespan.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lifespan.task
    assert events[-2:] == ["second left, 0 authors", "first left"]
    assert open_connections() == {}


# --- requests that are under way --------------------------------------------------------------


async def started(project, **limits):
    project.configure(MIDDLEWARE=[], ONLOOP=hooks("first") | limits)
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    request = project.get("/cleans-up/").start()
    await eventually(lambda: admission_of(asyncio.get_running_loop())._present)
    await asyncio.sleep(0)
    return lifespan, request


async def test_hooks_are_left_when_the_last_request_has_ended(project):
    lifespan, request = await started(project)
    ends = asyncio.create_task(lifespan.shutdown())
    request.task.cancel()  # as uvicorn does at this very moment
    assert await ends == {"type": "lifespan.shutdown.complete"}
    assert events == ["first entered", "view is cancelled", "view has ended", "first left"]
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_request_that_does_not_end_holds_the_end_up_for_a_bounded_time(
    project, monkeypatch, caplog
):
    monkeypatch.setattr("onloop.asgi.lifespan.REQUESTS_S", 0.01)
    lifespan, request = await started(project)
    assert await lifespan.shutdown() == {"type": "lifespan.shutdown.complete"}
    assert events == ["first entered", "first left"]
    assert "shut down while 1 requests are under way" in caplog.text
    request.leave()
    await request


async def test_a_shutdown_that_is_cancelled_while_it_waits_leaves_its_hooks(project):
    lifespan, request = await started(project)
    ends = asyncio.create_task(lifespan.shutdown())
    admission = admission_of(asyncio.get_running_loop())
    await eventually(lambda: admission._empty is not None, "its wait")
    lifespan.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lifespan.task
    assert events == ["first entered", "first left"]
    assert open_connections() == {}
    ends.cancel()
    request.leave()
    await request


# --- pools ------------------------------------------------------------------------------------


@pytest.fixture
def min_size(monkeypatch):
    monkeypatch.setitem(
        connections.settings["default"], "OPTIONS", {"pool": {"min_size": 3, "max_size": 5}}
    )


async def test_unknown_messages_without_end_leave_others_their_turn(project):
    """A server that has them all at hand never waits."""
    messages = [{"type": "lifespan.startup"}]
    replies = []

    async def receive():
        return messages.pop() if messages else {"type": "lifespan.unknown"}

    async def send(reply):
        replies.append(reply["type"])

    serving = asyncio.create_task(project.application({"type": "lifespan"}, receive, send))
    await eventually(lambda: replies)
    messages.append({"type": "lifespan.shutdown"})
    await serving
    assert replies == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_pools_are_warm_when_the_start_is_complete(project, min_size):
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    assert (open_connections(), borrowed()) == ({"default": 3, "other": 1}, {})
    await lifespan.shutdown()


async def test_the_server_sees_the_warm_connections_and_none_afterwards(
    project, min_size, pg_activity
):
    async def seen():
        return len(await asyncio.to_thread(pg_activity, application_name="onloop-tests"))

    async def none():
        return await seen() == 0

    lifespan = Lifespan(project.application)
    await lifespan.startup()
    assert await seen() == 3
    await lifespan.shutdown()
    await eventually(none)  # a server takes a moment to notice


async def test_requests_use_the_warm_connections(project, min_size):
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    await project.get("/count/")
    assert open_connections()["default"] == 3
    await lifespan.shutdown()


async def test_a_request_after_the_end_opens_a_pool_anew(project):
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    await lifespan.shutdown()
    assert (await project.get("/count/")).text == "0"


# --- a database that is not there -------------------------------------------------------------


@pytest.fixture
def no_database(project, monkeypatch, tmp_path):
    settings = connections.settings["default"]
    if settings["ENGINE"].endswith("sqlite3"):
        monkeypatch.setitem(settings, "NAME", tmp_path / "nowhere" / "file.sqlite3")
    else:
        monkeypatch.setitem(settings, "HOST", "127.0.0.1")
        monkeypatch.setitem(settings, "PORT", str(free_port()))


async def test_a_database_that_is_not_there_does_not_prevent_the_start(
    project, no_database, caplog
):
    lifespan = Lifespan(project.application)
    assert await lifespan.startup() == {"type": "lifespan.startup.complete"}
    assert "The pool of 'default' starts empty" in caplog.text
    await lifespan.shutdown()


async def test_a_request_that_needs_it_is_503(project, no_database, caplog):
    answer = await project.get("/count/")
    assert (answer.status, answer.headers("retry-after")) == (503, ["1"])
    (record,) = [r for r in caplog.records if r.name == "django.request"]
    assert "No connection to the database 'default'" in record.getMessage()


async def test_a_request_that_does_not_need_it_is_served(project, no_database):
    assert (await project.get("/plain/")).text == "hello"


async def test_a_session_that_needs_it_is_503(project, no_database):
    answer = await project.get("/user/", cookies={"sessionid": "a" * 32})
    assert answer.status == 503


async def test_a_session_that_nobody_asks_for_does_not_need_it(project, no_database):
    answer = await project.get("/plain/", cookies={"sessionid": "a" * 32})
    assert answer.status == 200


async def test_a_database_that_comes_back_is_used(project, monkeypatch):
    settings = connections.settings["default"]
    with monkeypatch.context() as patch:
        if settings["ENGINE"].endswith("sqlite3"):
            patch.setitem(settings, "NAME", "/nowhere/file.sqlite3")
        else:
            patch.setitem(settings, "PORT", str(free_port()))
        assert (await project.get("/count/")).status == 503

    async def served():
        return (await project.get("/count/")).text == "0"

    await eventually(served, "an answer from the database that is back")


# --- on a server ------------------------------------------------------------------------------


def serving(*names):
    paths = [f"tests.project.desk.lifespan.{name}" for name in names]
    return Serving(env=(("ONLOOP_TEST_ONLOOP", json.dumps({"LIFESPAN": paths})),))


def test_a_server_runs_the_hooks(database, tmp_path):
    server = start(serving("first", "second"), tmp_path)
    server.stop()
    said = [line for line in server.log_text().splitlines() if line.startswith(("fi", "se"))]
    assert said == [
        "first entered",
        "second entered, 0 authors",
        "second left, 0 authors",
        "first left",
    ]


def test_a_server_does_not_start_with_a_hook_that_fails(database, tmp_path):
    with pytest.raises(ServerFailed, match="ZeroDivisionError: this hook fails"):
        start(serving("fails"), tmp_path)


def test_a_server_without_its_database_answers_503_where_it_is_needed(database, tmp_path):
    env = (
        ("ONLOOP_TEST_FOLDER", str(tmp_path / "nowhere")),
        ("ONLOOP_TEST_HOST", "127.0.0.1"),
        ("ONLOOP_TEST_PORT", str(free_port())),
    )
    server = start(Serving(env=env), tmp_path)
    try:
        with httpx.Client(base_url=server.url, timeout=HTTP_TIMEOUT_S) as http:
            statuses = [http.get(path).status_code for path in ("/ping/", "/books/", "/ping/")]
    finally:
        server.stop()
    assert statuses == [200, 503, 200]
