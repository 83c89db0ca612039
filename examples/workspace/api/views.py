"""The document, and the page to try what stands in it."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from api.problems import CONTENT_TYPE
from workspace.errors import with_slash

# Swagger UI writes styles into its elements, and has its icons as data.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


async def index(request: HttpRequest) -> HttpResponse:
    return redirect("api-docs")


@csrf_exempt
async def unknown(request: HttpRequest) -> HttpResponse:
    """The last pattern: what is not there is told as a problem, also while DEBUG is on.

    A slash left out is mended where nothing is sent along.
    """
    if (mended := with_slash(request, unknown)) is not None:
        return mended
    text = "There is no such address. /api/docs/ lists all; each ends in a slash."
    body = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": text}
    return JsonResponse(body, status=404, content_type=CONTENT_TYPE)


class Document(SpectacularJSONAPIView):
    """OpenAPI 3.1."""


class Docs(SpectacularSwaggerSplitView):
    """Swagger UI, from this service's own static files."""

    url_name = "api-schema"
    template_name = "api/docs.html"
    schema = None  # not part of the document

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().get(request, *args, **kwargs)
        response["Content-Security-Policy"] = POLICY
        return response
