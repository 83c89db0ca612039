"""What `onloop.where()` tells in requests: views, middleware, and the threads of either."""

from __future__ import annotations

import asyncio

import asgiref.sync
import pytest
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path

import onloop
from tests.asgi.client import Exchange


def answer():
    return [onloop.where(), onloop.is_async_context()]


async def aanswer():
    return answer()


async def asynchronous(request):
    return JsonResponse({"here": answer(), "outside": request.outside})


async def bare(request):
    return JsonResponse({"here": answer()})


def synchronous(request):
    return JsonResponse({"here": answer(), "outside": request.outside})


@onloop.on_loop
def synchronous_on_loop(request):
    return JsonResponse({"here": answer()})


async def from_asynchronous(request):
    return JsonResponse(
        {
            "task": await asyncio.create_task(aanswer()),
            "asgiref": await asgiref.sync.sync_to_async(answer)(),
            "onloop": await onloop.sync_to_async(answer)(),
            "to_thread": await asyncio.to_thread(answer),
        }
    )


def from_synchronous(request):
    return JsonResponse(
        {"async_to_sync": asgiref.sync.async_to_sync(aanswer)(), "after": answer()}
    )


def streamed(request):
    return StreamingHttpResponse(onloop.where() for _ in range(1))


def middleware(get_response):
    def call(request):
        request.outside = answer()
        return get_response(request)

    return call


urlpatterns = [
    path("async/", asynchronous),
    path("bare/", bare),
    path("sync/", synchronous),
    path("on-loop/", synchronous_on_loop),
    path("from-async/", from_asynchronous),
    path("from-sync/", from_synchronous),
    path("streamed/", streamed),
]
BRIDGE = ["bridge", True]
THREAD = ["thread", False]


@pytest.fixture
def told(project):
    """`await told("/path/")`: what the view tells."""
    project.configure(MIDDLEWARE=[f"{__name__}.middleware"])

    async def ask(path):
        return (await project.get(path)).json()

    return ask


async def test_an_async_view_and_middleware_are_in_the_bridge_of_their_request(told):
    assert await told("/async/") == {"here": BRIDGE, "outside": BRIDGE}


async def test_a_sync_view_is_in_a_thread_and_middleware_around_it_is_not(told):
    assert await told("/sync/") == {"here": THREAD, "outside": BRIDGE}


async def test_a_sync_view_on_the_loop_is_in_the_bridge(told):
    assert await told("/on-loop/") == {"here": BRIDGE}


async def test_tasks_are_in_a_bridge_and_threads_in_a_thread(told):
    assert await told("/from-async/") == {
        "task": BRIDGE,
        "asgiref": THREAD,
        "onloop": BRIDGE,
        "to_thread": THREAD,
    }


async def test_a_sync_view_goes_to_the_loop_and_back(told):
    assert await told("/from-sync/") == {"async_to_sync": BRIDGE, "after": THREAD}


async def test_a_streamed_body_is_made_in_the_bridge(project):
    assert (await project.get("/streamed/")).text == "bridge"


async def test_under_djangos_own_handler_an_async_view_is_on_the_loop_outside_a_bridge(project):
    project.configure(MIDDLEWARE=[])
    answered = await Exchange(djangos_asgi_application(), "/bare/")
    assert answered.json() == {"here": ["loop", True]}


def test_under_wsgi_a_sync_view_is_plain_code(settings_of_this_module):
    assert Client().get("/sync/").json() == {
        "here": ["sync", False],
        "outside": ["sync", False],
    }


def test_under_wsgi_an_async_view_is_in_a_bridge(settings_of_this_module):
    assert Client().get("/async/").json() == {"here": BRIDGE, "outside": ["sync", False]}


@pytest.fixture
def settings_of_this_module(bare_project):
    bare_project.configure(MIDDLEWARE=[f"{__name__}.middleware"])
