"""The page, and the numbers of this process for Prometheus."""

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from operations import prometheus
from operations.access import is_operator
from operations.station import station
from workspace.pages import private_page


@require_safe
@login_required
async def page(request: HttpRequest) -> HttpResponse:
    if not is_operator(request.user):
        raise PermissionDenied("How the service runs is shown to the staff.")
    return private_page(request, "operations/index.html", {"board": await station().look()})


@require_safe
async def metrics(request: HttpRequest) -> HttpResponse:
    """For the staff: with a bearer token, which a Prometheus has, or a session."""
    if not request.user.is_authenticated:
        response = HttpResponse(
            "A bearer token of a staff account is needed.\n",
            status=401,
            content_type="text/plain; charset=utf-8",
        )
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return response
    if not is_operator(request.user):
        return HttpResponse(
            "This is for staff accounts.\n",
            status=403,
            content_type="text/plain; charset=utf-8",
        )
    body, content_type = prometheus.exposition()
    return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})
