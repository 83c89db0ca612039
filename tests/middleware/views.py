"""Views and middleware that go wrong in every place where something can."""

from __future__ import annotations

import asyncio

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.http import (
    Http404,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import get_object_or_404
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from rest_framework.exceptions import NotFound
from rest_framework.views import APIView

from onloop.db.errors import DatabaseUnavailable, PoolTimeout
from tests.project.library.models import Author

SECRET = "the secret of the house"

ERRORS = {
    "missing": (Http404("no such order"), 404, "no such order"),
    "missing-lazily": (Http404(gettext_lazy("no such order")), 404, "no such order"),
    "missing-silently": (Http404(), 404, None),
    "denied": (PermissionDenied("not your order"), 403, "not your order"),
    "suspicious": (SuspiciousOperation(SECRET), 400, None),
    "bad": (BadRequest(SECRET), 400, None),
    "multipart": (MultiPartParserError(SECRET), 400, "The body is not the multipart form"),
    "too-big": (RequestDataTooBig(SECRET), 400, "The body is larger"),
    "too-many": (TooManyFieldsSent(SECRET), 400, "The form has more fields"),
    "unreadable": (UnreadablePostError(SECRET), 400, "The body could not be read"),
    "unavailable": (DatabaseUnavailable(SECRET), 503, None),
    "pool": (PoolTimeout(SECRET), 503, None),
    "unexpected": (ZeroDivisionError(SECRET), 500, None),
}


async def fine(request):
    return HttpResponse("fine")


async def count(request):
    return HttpResponse(await Author.objects.acount())


async def user(request):
    return HttpResponse((await request.auser()).username)


async def raises(request, error):
    raise ERRORS[error][0]


def raises_sync(request, error):
    raise ERRORS[error][0]


def no_object(request):
    return get_object_or_404(Author.objects.none(), pk=1)


def template(request):
    def fails():
        raise ZeroDivisionError(SECRET)

    text = engines["django"].from_string("{{ fails }}")
    return TemplateResponse(request, text, {"fails": fails})


def own(request, kind):
    """An error page of the view's own."""
    return {
        "html": lambda: HttpResponse("<p>Sorry.", status=422),
        "text": lambda: HttpResponse("Too much.", status=429, content_type="text/plain"),
        "text-500": lambda: HttpResponse(SECRET, status=502, content_type="text/plain"),
        "json": lambda: JsonResponse({"own": True}, status=409),
        "problem": lambda: HttpResponse(
            b'{"own": true}', status=409, content_type="application/problem+json"
        ),
        "nothing": lambda: HttpResponse(status=410),
        "stream": lambda: StreamingHttpResponse(["a ", "stream"], status=404),
        "odd": lambda: HttpResponse(status=499),
    }[kind]()


def with_headers(request):
    response = HttpResponse("<p>", status=404, headers={"ETag": '"1"', "X-Kept": "yes"})
    response.set_cookie("kept", "yes")
    response["Content-Encoding"] = "gzip"
    response["Content-Length"] = "3"
    return response


class Rest(APIView):
    authentication_classes = ()
    permission_classes = ()

    def get(self, request):
        raise NotFound("DRF says so")


async def stream(request):
    async def parts():
        yield "one "
        await asyncio.sleep(0)
        yield "two"

    return StreamingHttpResponse(parts())


def stream_sync(request):
    return StreamingHttpResponse(iter(["one ", "two"]))


urlpatterns = [
    path("fine/", fine),
    path("count/", count),
    path("user/", user),
    path("raises/<error>/", raises),
    path("raises-sync/<error>/", raises_sync),
    path("api/raises/<error>/", raises),
    path("apiary/raises/<error>/", raises),
    path("no-object/", no_object),
    path("template/", template),
    path("own/<kind>/", own),
    path("with-headers/", with_headers),
    path("get-only/", csrf_exempt(require_GET(fine))),
    path("rest/", Rest.as_view()),
    path("api/rest/", Rest.as_view()),
    path("stream/", stream),
    path("stream-sync/", stream_sync),
]


# --- middleware -------------------------------------------------------------------------------


def raises_in(get_response):
    def middleware(request):
        if "in" in request.GET:
            raise ERRORS[request.GET["in"]][0]
        return get_response(request)

    return middleware


def raises_out(get_response):
    def middleware(request):
        response = get_response(request)
        if "out" in request.GET:
            raise ERRORS[request.GET["out"]][0]
        return response

    return middleware


class HandlesErrors:
    """Makes its own page of every exception of a view."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        return HttpResponse("<p>handled", status=418)
