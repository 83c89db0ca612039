"""Middleware of every kind in one chain, in any order, and its hooks."""

from __future__ import annotations

import itertools
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.http import require_GET

from tests.asgi.middleware import ERRORS, KINDS, chain
from tests.project.library.models import Author


async def view(request):
    await Author.objects.acount()
    return HttpResponse(", ".join(getattr(request, "passed", [])))


def sync_view(request):
    Author.objects.count()
    return HttpResponse(", ".join(getattr(request, "passed", [])))


async def raises(request):
    raise ERRORS[request.GET["error"]]


def raises_sync(request):
    raise ERRORS[request.GET["error"]]


async def template(request):
    return TemplateResponse(request, from_text("{{ seen }}{{ boom }}"), {"seen": ""})


async def bad_template(request):
    return TemplateResponse(
        request, from_text("{{ boom.explode }}"), {"seen": "", "boom": Boom()}
    )


class Boom:
    def explode(self):
        raise ZeroDivisionError("in a template")


def from_text(text):
    return engines["django"].from_string(text)


urlpatterns = [
    path("view/", view),
    path("sync-view/", sync_view),
    path("raises/", raises),
    path("raises-sync/", raises_sync),
    path("template/", template),
    path("bad-template/", bad_template),
    path("get-only/", require_GET(view)),
]


# --- kinds and orders -------------------------------------------------------------------------

ORDERS = [
    list(KINDS),
    list(reversed(KINDS)),
    *(
        list(order)
        for number, order in enumerate(itertools.permutations(KINDS))
        if number % 23_000 == 7  # 16 of 362,880
    ),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: " ".join(n[:6] for n in order))
async def test_every_kind_of_middleware_is_passed_in_every_order(project, settings_with, order):
    project.configure(MIDDLEWARE=settings_with(*chain(*order)))
    answer = await project.get("/view/")
    assert answer.status == 200
    assert answer.headers("x-passed") == [", ".join(order)]


@pytest.mark.parametrize("path", ["view", "template"])
async def test_the_whole_chain_starts_no_thread(project, settings_with, started_threads, path):
    project.configure(MIDDLEWARE=settings_with(*chain(*KINDS)))
    answer = await project.get(f"/{path}/")
    assert answer.status == 200
    assert started_threads == []


async def test_only_the_sync_view_is_in_a_thread(project, settings_with, started_threads):
    project.configure(MIDDLEWARE=settings_with(*chain(*KINDS)))
    answer = await project.get("/sync-view/")
    assert {entry.partition(" on ")[2] for entry in answer.text.split(", ")} == {
        threading.current_thread().name
    }
    assert len(started_threads) == 1


async def test_djangos_seven_do_their_work(project):
    answer = await project.get("/view/")
    assert answer.headers("x-frame-options") == ["DENY"]
    assert answer.headers("x-content-type-options") == ["nosniff"]
    assert answer.headers("content-length") == ["0"]


@pytest.mark.parametrize("query", ["stop", "stop-view"])
async def test_a_hook_that_answers_keeps_the_view_from_being_called(project, query):
    project.configure(MIDDLEWARE=chain("sync function", "mixin", "async function"))
    answer = await project.get("/raises/", query=query)
    assert (
        answer.text
        == {
            "stop": "stopped by process_request",
            "stop-view": "stopped by process_view",
        }[query]
    )


async def test_view_hooks_run_from_the_outside_in(project):
    project.configure(MIDDLEWARE=chain("mixin", "async class"))
    answer = await project.get("/view/")
    name = threading.current_thread().name
    order = ["mixin", "async class", "process_view", "async process_view"]
    assert answer.text == ", ".join(f"{step} on {name}" for step in order)


async def test_template_hooks_run_from_the_inside_out(project):
    project.configure(MIDDLEWARE=chain("mixin", "async class"))
    answer = await project.get("/template/")
    assert answer.text == "async sync "


@pytest.mark.parametrize("view", ["raises", "raises-sync"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("none", "hook: ZeroDivisionError('on purpose')"),
        ("key", "async hook: KeyError('a key')"),
    ],
)
async def test_an_exception_hook_answers_for_the_view(project, exceptions, view, error, text):
    project.configure(MIDDLEWARE=chain("mixin", "async class"))
    answer = await project.get(f"/{view}/", query=f"error={error}")
    assert answer.text == text
    assert exceptions == []


async def test_an_exception_hook_answers_for_a_template(project):
    project.configure(MIDDLEWARE=chain("mixin"))
    answer = await project.get("/bad-template/")
    assert answer.text == "hook: ZeroDivisionError('in a template')"


# --- building the chain -----------------------------------------------------------------------


async def test_middleware_that_is_not_used_is_left_out(project):
    project.configure(MIDDLEWARE=chain("sync function", "not_used", "async function"))
    answer = await project.get("/view/")
    assert answer.headers("x-passed") == ["sync function, async function"]


def test_a_factory_that_returns_none_is_named(bare_project):
    bare_project.configure(MIDDLEWARE=chain("returns_none"))
    with pytest.raises(ImproperlyConfigured, match=r"returns_none returned None"):
        bare_project.application  # noqa: B018 - it is made when it is asked for


def test_middleware_that_can_do_neither_is_named(bare_project):
    bare_project.configure(MIDDLEWARE=chain("not_capable"))
    with pytest.raises(RuntimeError, match=r"not_capable must have at least one of"):
        bare_project.application  # noqa: B018 - it is made when it is asked for


async def test_a_decorator_of_django_keeps_a_view_async(project, started_threads):
    answer = await project.get("/get-only/")
    assert (answer.status, started_threads) == (200, [])
