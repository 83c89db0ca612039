"""What whoever has a link sees, without a log-in."""

import uuid
from typing import TypeVar

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_safe

from files import serving, sharing
from files.models import ShareLink
from workspace.pages import private_page

R = TypeVar("R", bound=HttpResponseBase)


async def follow(request: HttpRequest, pk: uuid.UUID) -> ShareLink | HttpResponse:
    """The link, or the page that says why there is none."""
    try:
        return await sharing.follow(pk)
    except ShareLink.DoesNotExist:
        return _over(request, "unknown", status=404)
    except sharing.LinkIsOver as error:
        return _over(request, str(error), status=410)


@require_safe
async def page(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    link = await follow(request, pk)
    if isinstance(link, HttpResponse):
        return link
    context = await serving.shown(link.file) | {"link": link}
    return _private(private_page(request, "files/shared.html", context))


@require_safe
async def download(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    link = await follow(request, pk)
    if isinstance(link, HttpResponse):
        return link
    response = await serving.download(request, link.file)
    # The rest of a download that broke off, or a file that the browser has, is no new one.
    is_begun = response.status_code == 200 or (
        response.status_code == 206 and response.get("Content-Range", "").startswith("bytes 0-")
    )
    if request.method == "GET" and is_begun:
        try:
            await sharing.count(link)
        except BaseException:
            response.close()
            raise
    return _private(response)


@require_safe
async def preview(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    link = await follow(request, pk)
    if isinstance(link, HttpResponse):
        return link
    return _private(await serving.picture(request, link.file, "preview"))


def _over(request: HttpRequest, why: str, status: int) -> HttpResponse:
    return _private(private_page(request, "files/over.html", {"why": why}, status=status))


def _private(response: R) -> R:
    """The address is all that it takes: no other site and no search engine is told."""
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
