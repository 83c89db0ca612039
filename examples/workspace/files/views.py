"""The pages. They work without JavaScript; with it one sees how far an upload is."""

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.files import File
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import Role
from accounts.roles import has_role, requires
from files import serving, sharing, storing
from files.models import StoredFile
from files.naming import BadName, clean_name
from onloop import limits
from workspace.api import ApiError, api_view, paginate
from workspace.pages import private_page, takes_form_of

# A form has more in it than its file.
FORM_BYTES = storing.MAX_BYTES + 64 * 1024
AT_ONCE = 20


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
    except PermissionDenied as error:
        return await _list(request, error=error, status=403)
    return redirect("files")


@require_safe
@requires(Role.OWNER)
async def everybody(request: HttpRequest) -> HttpResponse:
    """Which files there are, for owners, who take away what others have left."""
    files = StoredFile.objects.select_related("owner")
    return await _list(request, files, template="files/everybody.html")


async def _list(
    request: HttpRequest,
    files: QuerySet[StoredFile] | None = None,
    *,
    template: str = "files/index.html",
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    if files is None:
        files = StoredFile.objects.filter(owner=request.user)
    try:
        page = await paginate(files, request.GET)
    except ApiError as error:
        if error.status == 404:
            raise Http404(error.message) from None
        return render(request, "400.html", {"error": error}, status=error.status)
    context |= {"page": page, "files": await page.rows.alist(), "max_bytes": storing.MAX_BYTES}
    context["waiting"] = any(file.examined is None for file in context["files"])
    context["may_keep"] = has_role(request.user, Role.MEMBER)
    context["may_see_all"] = has_role(request.user, Role.OWNER)
    return private_page(request, template, context, status=status)


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
    except PermissionDenied as error:
        raise ApiError(403, str(error)) from None
    return JsonResponse({"id": file.pk, "name": file.name, "size": file.size}, status=201)


@require_safe
@login_required
async def download(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    return await serving.download(request, await _own(request, pk))


@require_safe
@login_required
async def picture(request: HttpRequest, pk: uuid.UUID, kind: str) -> HttpResponseBase:
    return await serving.picture(request, await _own(request, pk), kind)


@require_safe
@login_required
async def about(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """What is in a file as far as it can be shown, and the links to it."""
    file = await _own(request, pk)
    context = await serving.shown(file) | {
        "links": await file.links.all().alist(),
        "choices": sharing.CHOICES,
        "may_share": has_role(request.user, Role.MEMBER),
    }
    return private_page(request, "files/about.html", context)


@takes_form_of("file-about", "pk")
@login_required
async def share(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    try:
        await sharing.share(request.user, pk, request.POST.get("expires"))
    except StoredFile.DoesNotExist:
        raise Http404("You have no such file.") from None
    except sharing.BadExpiry:
        return render(request, "400.html", {}, status=400)
    return redirect(reverse("file-about", args=[pk]) + "#links")


@takes_form_of("file-about", "pk")
@login_required
async def revoke(request: HttpRequest, pk: uuid.UUID, link: uuid.UUID) -> HttpResponse:
    file = await _own(request, pk)
    await sharing.revoke(file, link)
    return redirect(reverse("file-about", args=[pk]) + "#links")


@takes_form_of("files")
@login_required
async def delete(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One's own, and for owners of the workspace everybody's."""
    try:
        mine = await storing.delete(request.user, pk)
    except StoredFile.DoesNotExist:
        raise Http404("You have no such file.") from None
    return redirect("files" if mine else "files-all")


async def _own(request: HttpRequest, pk: uuid.UUID) -> StoredFile:
    file = await StoredFile.objects.filter(pk=pk, owner=request.user).afirst()
    if file is None:
        raise Http404("You have no such file.")
    return file
