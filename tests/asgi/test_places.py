"""Where views run, and whose connection they use there."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.http import HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

import onloop
from onloop import bridge
from onloop.asgi.places import place_of
from tests.asgi.client import all_of
from tests.project.library import api, views
from tests.project.library.models import Author, Book


def here(request):
    """The thread, and whether the loop runs in it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = False
    else:
        loop = True
    return JsonResponse({"loop": loop, "thread": threading.get_ident()})


@onloop.on_loop
def marked_for_the_loop(request):
    return here(request)


@onloop.in_thread
def marked_for_a_thread(request):
    return here(request)


async def asynchronous(request):
    return here(request)


def hidden(view):
    """A decorator from before `async def`: what it returns looks synchronous."""

    @functools.wraps(view)
    def inner(request, *args, **kwargs):
        return view(request, *args, **kwargs)

    return inner


class SyncClass(View):
    def get(self, request):
        return here(request)


@method_decorator(onloop.on_loop, name="dispatch")
class MarkedClass(SyncClass):
    pass


class ClassWithAttribute(SyncClass):
    onloop_place = "loop"


class AsyncClass(View):
    async def answer(self, request):
        body = request.body.decode()
        authors = await Author.objects.acount()
        return JsonResponse({"method": request.method, "body": body, "authors": authors})

    get = post = put = patch = delete = answer


@api_view()
def rest(request):
    return Response(here(request).headers)


class AsyncInstance:
    async def __call__(self, request):
        return here(request)


async def five_queries(request):
    threads = [threading.get_ident()]
    author = await Author.objects.acreate(name="A. Loop")
    threads.append(threading.get_ident())
    book = await Book.objects.acreate(title="One", author=author, published="2001-01-01")
    threads.append(threading.get_ident())
    book = await Book.objects.aget(pk=book.pk)
    name = book.author.name  # the lazy way
    threads.append(threading.get_ident())
    assert [b.title for b in author.books.all()] == ["One"]
    threads.append(threading.get_ident())
    return JsonResponse({"name": name, "threads": threads})


def backend():
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


class Around:
    """Middleware that opens a transaction around the view, and tells its backend."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.wrapper = connections["default"]
        if request.path != "/pids/":
            return self.get_response(request)
        with transaction.atomic():
            outside = backend()
            response = self.get_response(request)
            assert backend() == outside
        response["X-Outside"] = str(outside)
        return response


def pids(request):
    """A sync view in its thread; inside, back on the loop and in a thread again."""
    before = backend()

    async def on_the_loop():
        return await bridge.run(backend)

    through_loop = onloop.async_to_sync(on_the_loop)()
    with transaction.atomic():
        nested = backend()
    return JsonResponse({"pids": [before, through_loop, nested]})


def same_wrapper(request):
    Author.objects.count()
    return JsonResponse({"same": connections["default"] is request.wrapper})


def writes(request):
    Author.objects.create(name="kept")
    return HttpResponse()


router = SimpleRouter()
router.register("books", api.BookViewSet)
book_list = api.BookViewSet.as_view({"get": "list"})

urlpatterns = [
    path("here/", here),
    path("marked-for-the-loop/", marked_for_the_loop),
    path("marked-for-a-thread/", marked_for_a_thread),
    path("asynchronous/", asynchronous),
    path("hidden/", hidden(asynchronous)),
    path("sync-class/", SyncClass.as_view()),
    path("async-class/", AsyncClass.as_view()),
    path("callable/", AsyncInstance()),
    path("five-queries/", five_queries),
    path("pids/", pids),
    path("same-wrapper/", same_wrapper),
    path("writes/", writes),
    path("books-sync/", views.books_sync),
    path("api/", include(router.urls)),
]


def place(view, **settings):
    with override_settings(ONLOOP=settings):
        return place_of(view)


# --- the rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (here, "thread"),
        (asynchronous, "awaited"),
        (functools.partial(asynchronous), "awaited"),
        (hidden(asynchronous), "thread"),
        (AsyncClass.as_view(), "awaited"),
        (SyncClass.as_view(), "thread"),
        (marked_for_the_loop, "loop"),
        (marked_for_a_thread, "thread"),
        (MarkedClass.as_view(), "loop"),
        (ClassWithAttribute.as_view(), "loop"),
        (hidden(marked_for_the_loop), "loop"),
        (rest, "thread"),
        (book_list, "thread"),
        (admin.site.index, "thread"),
        (onloop.on_loop(asynchronous), "awaited"),
    ],
)
def test_without_settings(view, expected):
    assert place(view) == expected


@pytest.mark.parametrize("view", [here, SyncClass.as_view(), rest, book_list, admin.site.index])
def test_all_sync_views_can_be_put_on_the_loop(view):
    assert place(view, SYNC_VIEWS="loop") == "loop"


def test_a_mark_is_stronger_than_any_setting():
    settings = {"SYNC_VIEWS": "loop", "ON_LOOP": [f"{__name__}.marked_for_a_thread"]}
    assert place(marked_for_a_thread, **settings) == "thread"


@pytest.mark.parametrize(
    "view", [here, SyncClass.as_view(), hidden(here)], ids=["function", "class", "decorated"]
)
@pytest.mark.parametrize("prefix", [__name__, "tests", "tests.asgi"])
def test_a_prefix_covers_what_is_under_it(view, prefix):
    assert place(view, ON_LOOP=[prefix]) == "loop"


def test_a_prefix_ends_at_a_dot():
    assert place(here, ON_LOOP=[__name__[:-1], f"{__name__}.her"]) == "thread"


def test_the_longest_prefix_decides():
    settings = {
        "ON_LOOP": ["tests", f"{__name__}.SyncClass"],
        "IN_THREAD": ["tests.asgi"],
    }
    assert place(here, **settings) == "thread"
    assert place(SyncClass.as_view(), **settings) == "loop"
    assert place(views.books_sync, **settings) == "loop"


def test_of_two_equal_prefixes_the_thread_wins():
    assert place(here, ON_LOOP=[__name__], IN_THREAD=[__name__]) == "thread"


def test_a_thread_prefix_makes_an_exception_to_sync_views_on_the_loop():
    assert place(here, SYNC_VIEWS="loop", IN_THREAD=["tests.asgi"]) == "thread"


@pytest.mark.parametrize("view", [rest, book_list])
def test_rest_framework_is_matched_through_the_bases_of_its_classes(view):
    assert place(view, ON_LOOP=["rest_framework"]) == "loop"
    assert place(here, ON_LOOP=["rest_framework"]) == "thread"


def admin_views():
    book_admin = admin.site.get_model_admin(Book)
    return [
        pattern.callback
        for pattern in [*book_admin.get_urls(), *admin.site.get_urls()]
        if pattern.callback is not None
    ]


def test_every_view_of_the_admin_is_matched():
    places = {place(view, ON_LOOP=["django.contrib.admin"]) for view in admin_views()[:-1]}
    assert places == {"loop"}


def test_a_view_that_a_model_admin_wraps_by_hand_is_matched():
    from django.contrib.auth.admin import UserAdmin
    from django.contrib.auth.models import User

    password = UserAdmin(User, admin.site).get_urls()[0].callback
    assert place(password, ON_LOOP=["django.contrib.admin"]) == "loop"


def test_one_model_of_the_admin_can_be_an_exception():
    add = admin.site.get_model_admin(Book).get_urls()[1].callback
    settings = {
        "ON_LOOP": ["django.contrib.admin"],
        "IN_THREAD": ["tests.project.library.admin"],
    }
    assert place(add, **settings) == "thread"
    assert place(admin.site.index, **settings) == "loop"


@pytest.mark.parametrize(
    "settings",
    [
        {"ON_LOOP": "django.contrib.admin"},
        {"IN_THREAD": [1]},
        {"SYNC_VIEWS": "process"},
        {"ON_LOPP": []},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ImproperlyConfigured):
        place(here, **settings)


# --- where they really are --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["asynchronous", "hidden", "callable", "marked-for-the-loop"])
async def test_runs_on_the_loops_thread(project, path):
    answer = await project.get(f"/{path}/")
    assert answer.json() == {"loop": True, "thread": threading.get_ident()}


@pytest.mark.parametrize("path", ["here", "sync-class", "marked-for-a-thread"])
async def test_runs_in_a_thread(project, path):
    answer = await project.get(f"/{path}/")
    assert answer.json()["loop"] is False
    assert answer.json()["thread"] != threading.get_ident()


async def test_a_setting_that_changes_holds_for_the_next_request(project):
    application = project.application
    assert (await project.get("/here/")).json()["loop"] is False
    with override_settings(ONLOOP={"SYNC_VIEWS": "loop"}):
        assert project.application is application
        assert (await project.get("/here/")).json()["loop"] is True


async def test_an_async_view_runs_on_the_loops_thread_from_first_to_last_line(project):
    answer = await project.get("/five-queries/")
    assert answer.json() == {"name": "A. Loop", "threads": [threading.get_ident()] * 5}


async def test_an_async_view_with_five_queries_starts_no_thread(project, started_threads):
    await project.get("/five-queries/")
    assert started_threads == []


@pytest.mark.parametrize("path", ["books-sync", "api/books"])
async def test_what_is_put_on_the_loop_starts_no_thread(project, started_threads, path):
    project.configure(ONLOOP={"SYNC_VIEWS": "loop"})
    author = await Author.objects.acreate(name="A. Loop")
    await Book.objects.acreate(title="One", author=author, published="2001-01-01")
    answer = await project.get(f"/{path}/")
    assert "One" in answer.text
    assert started_threads == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_class_with_async_methods_answers(project, method):
    project.configure(MIDDLEWARE=[])
    answer = await project.send(method, "/async-class/", body=b"a body")
    assert answer.json() == {"method": method, "body": "a body", "authors": 0}


async def test_a_class_with_async_methods_refuses_others(project):
    answer = await project.send("TRACE", "/async-class/")
    assert answer.status == 405


# --- whose connection -------------------------------------------------------------------------


@pytest.mark.parametrize("sync_views", ["thread", "loop"])
async def test_a_sync_view_is_in_the_scope_of_its_request(project, sync_views):
    project.configure(MIDDLEWARE=[f"{__name__}.Around"], ONLOOP={"SYNC_VIEWS": sync_views})
    assert (await project.get("/same-wrapper/")).json() == {"same": True}


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("sync_views", ["thread", "loop"])
async def test_a_sync_view_uses_the_requests_connection_wherever_it_is(project, sync_views):
    project.configure(MIDDLEWARE=[f"{__name__}.Around"], ONLOOP={"SYNC_VIEWS": sync_views})
    answer = await project.get("/pids/")
    outside = int(answer.headers("x-outside")[0])
    assert answer.json()["pids"] == [outside] * 3


@pytest.mark.parametrize("sync_views", ["thread", "loop"])
async def test_sync_views_at_the_same_time_do_not_share_a_connection(project, sync_views):
    project.configure(ONLOOP={"SYNC_VIEWS": sync_views})
    author = await Author.objects.acreate(name="A. Loop")
    await Book.objects.acreate(title="One", author=author, published="2001-01-01")
    answers = await all_of(project.get("/books-sync/") for _ in range(20))
    expected = {"books": [{"title": "One", "author": "A. Loop"}]}
    assert [answer.json() for answer in answers] == [expected] * 20


@pytest.mark.parametrize("sync_views", ["thread", "loop"])
async def test_what_a_sync_view_writes_stays(project, sync_views):
    project.configure(ONLOOP={"SYNC_VIEWS": sync_views})
    await project.get("/writes/")
    assert await Author.objects.filter(name="kept").aexists()
