"""`ONLOOP["IMPLICIT_IO"] = "raise"` in requests: which code may still just wait."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.test import Client, override_settings
from django.urls import path
from django.views import View

import onloop
from onloop import bridge
from onloop.views import AsyncObjectMixin
from tests.project.library.models import Author, Book

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"books.html": "{% for book in books %}{{ book.author.name }}{% endfor %}"},
                )
            ]
        },
    }
]


# --- views ------------------------------------------------------------------------------------


def text(things):
    return HttpResponse(", ".join(map(str, things)))


async def lazy(request):
    book = await Book.objects.aget()
    return text([book.author])


async def looped(request):
    return text(book.title for book in Book.objects.all())


async def rendered(request):
    return render(request, "books.html", {"books": Book.objects.all()})


async def user(request):
    return text([request.user.username])


async def streams_implicitly(request):
    async def rows():
        yield "one"
        yield str(Book.objects.count())

    return StreamingHttpResponse(rows())


async def awaited_user(request):
    return text([(await request.auser()).username])


async def explicit(request):
    titles = [book.author.name async for book in Book.objects.select_related("author")]
    return text(titles)


async def rendered_in_bridge(request):
    return await bridge.run(render, request, "books.html", {"books": Book.objects.all()})


async def rendered_by_handler(request):
    return TemplateResponse(request, "books.html", {"books": Book.objects.all()})


async def streams(request):
    async def rows():
        async for book in Book.objects.select_related("author"):
            yield book.author.name

    return StreamingHttpResponse(rows())


async def streams_synchronously(request):
    def rows():
        for book in Book.objects.all():
            yield book.author.name

    return StreamingHttpResponse(rows())


class Detail(AsyncObjectMixin, View):
    model = Book

    def get_queryset(self):
        assert Author.objects.exists()
        return super().get_queryset().select_related("author")

    async def get(self, request, pk=1):
        page = await self.aget_page()
        return text([page[0].author])

    paginate_by = 1


def synchronous(request):
    return text(book.author for book in Book.objects.all())


def synchronous_too(request):
    return synchronous(request)


urlpatterns = [
    path("lazy/", lazy),
    path("looped/", looped),
    path("rendered/", rendered),
    path("user/", user),
    path("streams-implicitly/", streams_implicitly),
    path("awaited-user/", awaited_user),
    path("explicit/", explicit),
    path("rendered-in-bridge/", rendered_in_bridge),
    path("rendered-by-handler/", rendered_by_handler),
    path("streams/", streams),
    path("streams-synchronously/", streams_synchronously),
    path("class/", Detail.as_view()),
    path("in-thread/", onloop.in_thread(synchronous)),
    path("on-loop/", onloop.on_loop(synchronous_too)),
]


# --- middleware -------------------------------------------------------------------------------


def sync_middleware(get_response):
    def middleware(request):
        request.before = Author.objects.get()
        response = get_response(request)
        response["X-Books"] = str(request.before.books.count())
        return response

    return middleware


def explicit_middleware(get_response):
    async def middleware(request):
        request.before = await Author.objects.aget()
        response = await get_response(request)
        response["X-Books"] = str(await request.before.books.acount())
        return response

    return middleware


def implicit_middleware(get_response):
    async def middleware(request):
        request.before = Author.objects.get()
        return await get_response(request)

    return middleware


class HookMiddleware:
    """Its hooks are synchronous, though it is asynchronous itself."""

    sync_capable, async_capable = False, True

    def __init__(self, get_response):
        self.get_response = get_response

    async def __call__(self, request):
        response = await self.get_response(request)
        response["X-Books"] = request.seen
        return response

    def process_view(self, request, view, args, kwargs):
        request.seen = str(Book.objects.count())


for side in (explicit_middleware, implicit_middleware):
    side.sync_capable, side.async_capable = False, True


# --- tests ------------------------------------------------------------------------------------


@pytest.fixture
async def strict(project):
    """The project with one book of one author, who is refused implicit waiting."""
    author = await Author.objects.acreate(name="Ann")
    await author.books.acreate(title="One", published="2001-01-01")
    project.configure(ONLOOP={"IMPLICIT_IO": "raise"}, TEMPLATES=TEMPLATES)
    return project


@pytest.mark.parametrize("name", ["lazy", "looped", "rendered"])
async def test_an_async_view_that_waits_without_await_is_refused(strict, exceptions, name):
    assert (await strict.get(f"/{name}/")).status == 500
    (refused,) = exceptions
    assert type(refused) is SynchronousOnlyOperation
    assert f"the coroutine {name}() ({__file__}:" in str(refused)


@pytest.mark.parametrize(
    "name",
    [
        "explicit", "rendered-in-bridge", "rendered-by-handler", "streams",
        "streams-synchronously", "class", "in-thread", "on-loop",
    ],
)  # fmt: skip
async def test_everything_else_goes_on(strict, name):
    answered = await strict.get(f"/{name}/")
    assert (answered.status, answered.text) == (200, "Ann")


async def test_the_lazy_user_is_refused_and_the_awaited_one_is_not(strict, exceptions):
    user = await User.objects.acreate(username="reader")
    client = Client()
    await client.aforce_login(user)
    cookies = {"sessionid": client.cookies["sessionid"].value}
    assert (await strict.get("/awaited-user/", cookies=cookies)).text == "reader"
    assert exceptions == []
    assert (await strict.get("/user/", cookies=cookies)).status == 500
    assert [type(exc) for exc in exceptions] == [SynchronousOnlyOperation]


async def test_an_async_iterator_that_waits_without_await_ends_its_stream(strict):
    exchange = strict.get("/streams-implicitly/")
    with pytest.raises(SynchronousOnlyOperation, match=r"streams_implicitly\.<locals>\.rows\("):
        await exchange
    assert (exchange.content, exchange.complete) == (b"one", False)


@pytest.mark.parametrize(
    "names", [["sync"], ["explicit"], ["sync", "explicit", "sync"], ["explicit", "sync"]]
)
async def test_middleware_that_is_sync_or_awaits_goes_on(strict, names):
    strict.configure(MIDDLEWARE=[f"{__name__}.{name}_middleware" for name in names])
    answered = await strict.get("/explicit/")
    assert (answered.text, answered.headers("x-books")) == ("Ann", ["1"])


async def test_sync_hooks_of_an_async_middleware_go_on(strict):
    strict.configure(MIDDLEWARE=[f"{__name__}.HookMiddleware"])
    assert (await strict.get("/explicit/")).headers("x-books") == ["1"]


@pytest.mark.parametrize("inner", [[], [f"{__name__}.sync_middleware"]])
async def test_async_middleware_that_waits_without_await_is_refused(strict, exceptions, inner):
    strict.configure(MIDDLEWARE=[f"{__name__}.implicit_middleware", *inner])
    assert (await strict.get("/explicit/")).status == 500
    (refused,) = exceptions
    assert "implicit_middleware.<locals>.middleware() (" in str(refused)


async def test_a_user_finds_the_cure_on_the_page_of_the_error(strict):
    strict.configure(DEBUG=True)
    page = (await strict.get("/lazy/")).text
    for cure in ("await queryset.aget()", "select_related", "await onloop.bridge.run(function"):
        assert cure in page


async def test_the_setting_holds_from_the_next_request_on(strict):
    with override_settings(ONLOOP={"IMPLICIT_IO": "allow"}):
        assert (await strict.get("/lazy/")).text == "Ann"
    assert (await strict.get("/lazy/")).status == 500
