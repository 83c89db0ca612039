"""The document, and the page to try what stands in it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

# Swagger UI writes styles into its elements, and has its icons as data.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


async def index(request: HttpRequest) -> HttpResponse:
    return redirect("api-docs")


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
