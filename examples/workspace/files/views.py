"""The pages. They work without JavaScript; with it one sees how far an upload is."""

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.files import File
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

import onloop.files
from files import storing
from files.models import StoredFile
from files.naming import BadName, clean_name
from onloop import limits
from workspace.api import ApiError, api_view, paginate
from workspace.pages import private_page

# A form has more in it than its file.
FORM_BYTES = storing.MAX_BYTES + 64 * 1024
AT_ONCE = 20

# Whatever a file is, a browser saves it and runs none of it. Its address may be opened all the
# same: then it is a page without rights, scripts or anything else.
HARMLESS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept by the browser, and asked for again each time.
    "Cache-Control": "private, no-cache",
}


@limits(max_body=FORM_BYTES)
@login_required
async def index(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return await _list(request)
    uploads = request.FILES.getlist("file")
    try:
        if not uploads:
            raise BadName("Choose a file first.")
        if len(uploads) > AT_ONCE:
            raise BadName(f"At most {AT_ONCE} files at once.")
        names = [clean_name(upload.name) for upload in uploads]
        for name, upload in zip(names, uploads, strict=True):
            await storing.store(request.user, name, upload)
    except (BadName, storing.NoRoom) as error:
        return await _list(request, error=error, status=400)
    return redirect("files")


async def _list(request: HttpRequest, status: int = 200, **context: Any) -> HttpResponse:
    try:
        page = await paginate(StoredFile.objects.filter(owner=request.user), request.GET)
    except ApiError as error:
        if error.status == 404:
            raise Http404(error.message) from None
        return render(request, "400.html", {"error": error}, status=error.status)
    context |= {"page": page, "files": await page.rows.alist(), "max_bytes": storing.MAX_BYTES}
    context["waiting"] = any(file.examined is None for file in context["files"])
    return private_page(request, "files/index.html", context, status=status)


@limits(max_body=storing.MAX_BYTES)
@api_view("POST", uses_session=True)
async def receive(request: HttpRequest) -> HttpResponse:
    """The script's way: the body is the file, and goes into the storage as it comes."""
    user = await request.auser()
    if not user.is_authenticated:
        raise ApiError(401, "Log in first.", headers={"WWW-Authenticate": "Session"})
    if request.content_type != "application/octet-stream":
        raise ApiError(415, "Send the file's bytes, as application/octet-stream.")
    try:
        name = clean_name(request.GET.get("name"))
        file = await storing.store(user, name, File(request, name=name))
    except BadName as error:
        raise ApiError(400, "The query is not valid.", fields={"name": str(error)}) from None
    except storing.NoRoom as error:
        raise ApiError(409, str(error)) from None
    return JsonResponse({"id": file.pk, "name": file.name, "size": file.size}, status=201)


@require_safe
@login_required
async def download(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    file = await _own(request, pk)
    return onloop.files.FileResponse(
        await _open(file.content.name),
        request=request,
        as_attachment=True,
        filename=file.name,
        content_type=file.media_type,
        headers=HARMLESS,
    )


@require_safe
@login_required
async def thumbnail(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    file = await _own(request, pk)
    if not file.thumbnail:
        raise Http404("It has none.")
    return onloop.files.FileResponse(
        await _open(file.thumbnail.name),
        request=request,
        filename="thumbnail.png",
        content_type="image/png",
        headers=HARMLESS,
    )


@require_POST
@login_required
async def delete(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    file = await _own(request, pk)
    await file.adelete()
    return redirect("files")


async def _own(request: HttpRequest, pk: uuid.UUID) -> StoredFile:
    file = await StoredFile.objects.filter(pk=pk, owner=request.user).afirst()
    if file is None:
        raise Http404("You have no such file.")
    return file


async def _open(name: str) -> Any:
    try:
        return await onloop.files.storage().aopen(name)
    except FileNotFoundError:
        raise Http404("The file is gone.") from None
