"""One middleware of each kind, each with a query on either side of the view."""

from __future__ import annotations

import asyncio
import threading

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpResponse
from django.utils.decorators import (
    async_only_middleware,
    sync_and_async_middleware,
    sync_only_middleware,
)
from django.utils.deprecation import MiddlewareMixin

from tests.project.library.models import Author

ERRORS = {
    "none": ZeroDivisionError("on purpose"),
    "missing": Http404("no such thing"),
    "denied": PermissionDenied("not for you"),
    "suspicious": SuspiciousOperation("that is odd"),
    "key": KeyError("a key"),
}


def passed(request, name):
    if not hasattr(request, "passed"):
        request.passed = []
    request.passed.append(f"{name} on {threading.current_thread().name}")


def sync_function(get_response):
    def middleware(request):
        passed(request, "sync function")
        Author.objects.count()
        response = get_response(request)
        Author.objects.count()
        return marked(response, "sync function")

    return middleware


@sync_only_middleware
def sync_only_function(get_response):
    return lambda request: marked(get_response(request), "sync-only function")


@async_only_middleware
def async_function(get_response):
    async def middleware(request):
        passed(request, "async function")
        await Author.objects.acount()
        response = await get_response(request)
        await Author.objects.acount()
        return marked(response, "async function")

    return middleware


@sync_and_async_middleware
def dual_function(get_response):
    if not iscoroutinefunction(get_response):
        return lambda request: marked(get_response(request), "dual function: sync side")

    async def middleware(request):
        passed(request, "dual function")
        await Author.objects.acount()
        return marked(await get_response(request), "dual function")

    return middleware


class ClassWithoutFlags:
    """Written by somebody who did not know about the flags."""

    def __init__(self, get_response):
        self.get_response = get_response

    async def __call__(self, request):
        passed(request, "class without flags")
        await Author.objects.acount()
        return marked(await self.get_response(request), "class without flags")


class AsyncClass:
    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        passed(request, "async class")
        return marked(await self.get_response(request), "async class")

    async def process_view(self, request, view, args, kwargs):
        await asyncio.sleep(0)
        passed(request, "async process_view")

    async def process_template_response(self, request, response):
        await Author.objects.acount()
        response.context_data["seen"] += "async "
        return response

    async def process_exception(self, request, exception):
        await asyncio.sleep(0)
        if isinstance(exception, LookupError):
            return HttpResponse(f"async hook: {exception!r}")
        return None


class DualClass:
    """As Django's `RemoteUserMiddleware`: `__call__` is synchronous, and knows what to do."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request):
        if self.is_async:
            return self.__acall__(request)
        passed(request, "dual class: sync side")
        return marked(self.get_response(request), "dual class: sync side")

    async def __acall__(self, request):
        passed(request, "dual class")
        await Author.objects.acount()
        return marked(await self.get_response(request), "dual class")


class InATask:
    """Calls the rest in a task of its own, as `asyncio.wait_for` does before Python 3.12."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response

    async def __call__(self, request):
        passed(request, "in a task")
        response = await asyncio.create_task(self.get_response(request))
        return marked(response, "in a task")


class Mixin(MiddlewareMixin):
    def process_request(self, request):
        passed(request, "mixin")
        Author.objects.count()
        if "stop" in request.GET:
            return HttpResponse("stopped by process_request")
        return None

    def process_response(self, request, response):
        Author.objects.count()
        return marked(response, "mixin")

    def process_view(self, request, view, args, kwargs):
        passed(request, "process_view")
        if "stop-view" in request.GET:
            return HttpResponse("stopped by process_view")
        return None

    def process_template_response(self, request, response):
        response.context_data["seen"] += "sync "
        return response

    def process_exception(self, request, exception):
        if isinstance(exception, ArithmeticError):
            Author.objects.count()
            return HttpResponse(f"hook: {exception!r}")
        return None


def marked(response, name):
    response["X-Passed"] = ", ".join(filter(None, [name, response.get("X-Passed")]))
    return response


KINDS = {
    "sync function": "sync_function",
    "sync-only function": "sync_only_function",
    "async function": "async_function",
    "dual function": "dual_function",
    "class without flags": "ClassWithoutFlags",
    "async class": "AsyncClass",
    "dual class": "DualClass",
    "in a task": "InATask",
    "mixin": "Mixin",
}


def chain(*kinds):
    """The dotted paths of these kinds."""
    return [f"{__name__}.{KINDS.get(kind, kind)}" for kind in kinds]


# --- that are not what they should be ---------------------------------------------------------


def not_used(get_response):
    raise MiddlewareNotUsed("not today")


def returns_none(get_response):
    return None


def not_capable(get_response):
    raise AssertionError("never called")


not_capable.sync_capable = not_capable.async_capable = False


def raises_on_the_way_in(get_response):
    def middleware(request):
        raise ERRORS[request.GET["error"]]

    return middleware


def raises_on_the_way_out(get_response):
    def middleware(request):
        get_response(request)
        raise ERRORS[request.GET["error"]]

    return middleware


@async_only_middleware
def raises_async(get_response):
    async def middleware(request):
        await get_response(request)
        raise ERRORS[request.GET["error"]]

    return middleware
