"""What goes wrong in a view or in middleware becomes a response; `ATOMIC_REQUESTS`."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.db import connection, connections
from django.http import HttpResponse
from django.urls import path

from tests.asgi.middleware import ERRORS, chain
from tests.project.library.models import Author


async def view(request):
    return HttpResponse()


async def raises(request):
    raise ERRORS[request.GET["error"]]


def raises_sync(request):
    raise ERRORS[request.GET["error"]]


async def writes(request):
    await Author.objects.acreate(name="a row")
    if "error" in request.GET:
        raise ERRORS[request.GET["error"]]
    return HttpResponse(str(connection.in_atomic_block))


def writes_sync(request):
    Author.objects.create(name="a row")
    if "error" in request.GET:
        raise ERRORS[request.GET["error"]]
    return HttpResponse(str(connection.in_atomic_block))


async def exempt(request):
    return await writes(request)


exempt._non_atomic_requests = {"default", "other"}


made = []


def hides_a_coroutine(request):
    made.append(writes(request))
    return made[-1]


async def returns_nothing(request):
    await asyncio.sleep(0)


def returns_nothing_sync(request):
    pass


urlpatterns = [
    path("view/", view),
    path("raises/", raises),
    path("raises-sync/", raises_sync),
    path("writes/", writes),
    path("writes-sync/", writes_sync),
    path("exempt/", exempt),
    path("hides-a-coroutine/", hides_a_coroutine),
    path("returns-nothing/", returns_nothing),
    path("returns-nothing-sync/", returns_nothing_sync),
]


# --- exceptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["raises", "raises-sync"])
@pytest.mark.parametrize(
    ("error", "status"), [("none", 500), ("missing", 404), ("denied", 403), ("suspicious", 400)]
)
async def test_an_exception_in_a_view_becomes_a_response(project, view, error, status):
    answer = await project.get(f"/{view}/", query=f"error={error}")
    assert answer.status == status


@pytest.mark.parametrize(
    "layer", ["raises_on_the_way_in", "raises_on_the_way_out", "raises_async"]
)
@pytest.mark.parametrize(
    ("error", "status"), [("none", 500), ("missing", 404), ("denied", 403), ("suspicious", 400)]
)
async def test_an_exception_in_middleware_becomes_a_response(project, layer, error, status):
    project.configure(MIDDLEWARE=chain("dual function", layer, "async function"))
    answer = await project.get("/view/", query=f"error={error}")
    assert answer.status == status
    # The middleware outside of it never sees the exception.
    assert answer.headers("x-passed") == ["dual function"]


@pytest.mark.parametrize(
    ("path", "middleware"),
    [
        ("raises", []),
        ("raises-sync", []),
        ("view", ["raises_on_the_way_in"]),
        ("view", ["in a task", "raises_async"]),
    ],
)
async def test_receivers_of_the_exception_signal_find_it_in_exc_info(
    project, exceptions, path, middleware
):
    project.configure(MIDDLEWARE=chain(*middleware))
    await project.get(f"/{path}/", query="error=none")
    assert exceptions == [ERRORS["none"]]


async def test_an_exception_is_logged_once_with_its_traceback(project, caplog):
    await project.get("/raises/", query="error=none")
    (record,) = [r for r in caplog.records if r.name == "django.request"]
    assert record.levelno == logging.ERROR
    assert record.exc_info[1] is ERRORS["none"]


async def test_a_page_that_is_not_there_is_404(project):
    assert (await project.get("/nowhere/")).status == 404


async def test_debug_pages_tell_where_it_happened(project):
    project.configure(DEBUG=True)
    answer = await project.get("/raises/", query="error=none")
    assert "ZeroDivisionError" in answer.text
    assert "on purpose" in answer.text


async def test_exceptions_go_through_where_the_settings_say_so(project):
    project.configure(DEBUG_PROPAGATE_EXCEPTIONS=True)
    with pytest.raises(ZeroDivisionError):
        await project.get("/raises/", query="error=none")


@pytest.mark.parametrize("path", ["returns-nothing", "returns-nothing-sync"])
async def test_a_view_that_returns_nothing_is_an_error_that_names_it(project, exceptions, path):
    answer = await project.get(f"/{path}/")
    assert answer.status == 500
    assert f"{path.replace('-', '_')} didn't return an HttpResponse" in str(exceptions[0])


# --- ATOMIC_REQUESTS --------------------------------------------------------------------------


@pytest.fixture
def atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.mark.parametrize("path", ["writes", "writes-sync"])
async def test_a_request_that_is_a_transaction_is_committed(project, atomic_requests, path):
    answer = await project.get(f"/{path}/")
    assert answer.text == "True"
    assert await Author.objects.acount() == 1


@pytest.mark.parametrize("path", ["writes", "writes-sync"])
async def test_a_request_that_is_a_transaction_is_rolled_back(project, atomic_requests, path):
    answer = await project.get(f"/{path}/", query="error=missing")
    assert answer.status == 404
    assert await Author.objects.acount() == 0


async def test_a_view_that_is_exempt_is_no_transaction(project, atomic_requests):
    answer = await project.get("/exempt/", query="error=none")
    assert answer.status == 500
    assert await Author.objects.acount() == 1


async def test_a_hidden_async_view_is_never_run_outside_its_transaction(
    project, atomic_requests, exceptions
):
    answer = await project.get("/hides-a-coroutine/")
    assert answer.status == 500
    assert "unawaited coroutine" in str(exceptions[0])
    made.pop().close()
    assert await Author.objects.acount() == 0
