"""Files on their way out, to whoever was found to have a right to them."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase

import onloop.files
from files.models import StoredFile

# Whatever a file is, a browser saves it and runs none of it. Its address may be opened all the
# same: then it is a page without rights, scripts or anything else.
HARMLESS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept by the browser, and asked for again each time.
    "Cache-Control": "private, no-cache",
}
TEXTS = {"application/json", "text/csv", "text/markdown", "text/plain"}
# So much of a text is shown.
MAX_TEXT_BYTES = 32 * 1024


async def newest(user: Any, number: int) -> list[StoredFile]:
    return await StoredFile.objects.filter(owner=user)[:number].alist()


async def download(request: HttpRequest, file: StoredFile) -> HttpResponseBase:
    """The file itself, to be saved. Raises ``Http404``."""
    return onloop.files.FileResponse(
        await _open(file.content.name),
        request=request,
        as_attachment=True,
        filename=file.name,
        content_type=file.media_type,
        headers=HARMLESS,
    )


async def picture(request: HttpRequest, file: StoredFile, kind: str) -> HttpResponseBase:
    """The ``thumbnail`` or ``preview`` that a job has made of an image. Raises ``Http404``."""
    name = getattr(file, kind).name
    if not name:
        raise Http404("There is no picture of this file. A job makes one of images.")
    return onloop.files.FileResponse(
        await _open(name),
        request=request,
        filename=f"{kind}.png" if kind == "thumbnail" else f"{kind}.webp",
        content_type="image/png" if kind == "thumbnail" else "image/webp",
        headers=HARMLESS,
    )


async def shown(file: StoredFile) -> dict[str, Any]:
    """What a page shows of a file: its picture, the beginning of its text, or facts alone."""
    text = None
    if file.media_type in TEXTS:
        async with await _open(file.content.name) as content:
            text = (await content.aread(MAX_TEXT_BYTES)).decode(errors="replace")
    return {"file": file, "text": text, "is_cut": file.size > MAX_TEXT_BYTES}


async def _open(name: str) -> Any:
    try:
        return await onloop.files.storage().aopen(name)
    except FileNotFoundError:
        raise Http404("The file is gone.") from None
