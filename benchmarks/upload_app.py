"""What `benchmarks.upload` serves: two views that hash an upload, and one for others."""

import hashlib
from typing import Any

from django.conf import settings
from django.core.management.utils import get_random_secret_key

GIB = 2**30

settings.configure(
    SECRET_KEY=get_random_secret_key(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["onloop"],
    ONLOOP={"MAX_BODY": 64 * GIB},
)

from django.http import HttpResponse  # noqa: E402 - after the settings
from django.urls import path  # noqa: E402

from onloop.asgi import get_asgi_application  # noqa: E402


async def raw(request: Any) -> HttpResponse:
    sha = hashlib.sha256()
    async for piece in request:
        sha.update(piece)
    return HttpResponse(sha.hexdigest())


async def form(request: Any) -> HttpResponse:
    files = await request.afiles()
    sha = hashlib.sha256()
    async for piece in files["file"].achunks():
        sha.update(piece)
    return HttpResponse(sha.hexdigest())


async def other(request: Any) -> HttpResponse:
    return HttpResponse("here")


urlpatterns = [path("raw/", raw), path("form/", form), path("other/", other)]
application = get_asgi_application()
