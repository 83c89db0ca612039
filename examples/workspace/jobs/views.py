"""The pages. Without JavaScript they tell the state as they are loaded; with it, live."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from accounts.models import Role
from accounts.roles import has_role, require, requires
from catalogue.table import COLUMNS, REQUIRED
from files import storing
from files.models import StoredFile
from files.naming import BadName, clean_name
from jobs import importing, services
from jobs.models import Work
from jobs.states import shown
from onloop import limits
from workspace.pages import private_page, takes_form_of

MAY_IMPORT = ["catalogue.add_product", "catalogue.change_product"]
MAX_TABLES = 20


@limits(max_body=importing.MAX_BYTES + 64 * 1024)
@login_required
async def index(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return await _list(request)
    require(request.user, Role.MEMBER)  # before a file is stored
    kind = request.POST.get("kind")
    if kind not in Work.Kind.values:
        raise Http404("There is no such job.")
    try:
        source = await _source(request) if kind == Work.Kind.IMPORT else None
        begun = await services.begin(request.user, kind, source)
    except (BadName, storing.NoRoom, services.NotNow) as error:
        return await _list(request, error=error, kind=kind, status=400)
    except PermissionDenied as error:
        return await _list(request, error=error, kind=kind, status=403)
    return redirect("work", begun.pk)


async def _source(request: HttpRequest) -> StoredFile:
    """The file to import: one of the user's, or one that is from now on.

    Raises ``BadName`` or ``NoRoom``.
    """
    if not await request.user.ahas_perms(MAY_IMPORT):
        raise PermissionDenied("Imports are for accounts that may change products.")
    upload = request.FILES.get("file")
    if upload is None:
        chosen = request.POST.get("source", "")
        found = [file for file in await _tables(request) if str(file.pk) == chosen]
        if not found:
            raise BadName("Choose a file first.")
        return found[0]
    return await storing.store(request.user, clean_name(upload.name), upload)


async def _tables(request: HttpRequest) -> list[StoredFile]:
    """The user's newest files that are tables."""
    tables = StoredFile.objects.filter(owner=request.user, media_type="text/csv")
    return await tables[:MAX_TABLES].alist()


async def _list(request: HttpRequest, status: int = 200, **context: Any) -> HttpResponse:
    context |= {
        "works": await services.latest(request.user),
        "may_begin": has_role(request.user, Role.MEMBER),
        "may_import": await request.user.ahas_perms(MAY_IMPORT),
        "tables": await _tables(request),
        "columns": COLUMNS,
        "required": REQUIRED,
    }
    return private_page(request, "jobs/index.html", context, status=status)


@require_safe
@login_required
async def work(request: HttpRequest, pk: int) -> HttpResponse:
    return await _page(request, await _visible(request, pk))


@takes_form_of("work", "pk")
@login_required
async def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    found = await _visible(request, pk)
    await services.cancel(found)
    return redirect("work", found.pk)


@takes_form_of("work", "pk")
@requires(Role.MEMBER)
async def retry(request: HttpRequest, pk: int) -> HttpResponse:
    found = await _visible(request, pk)
    try:
        await services.retry(found, _number(request.POST.get("attempt", "")))
    except services.NotNow as error:
        return await _page(request, found, error=error, status=409)
    return redirect("work", found.pk)


async def _page(
    request: HttpRequest, found: Work, status: int = 200, **context: Any
) -> HttpResponse:
    (one,) = await shown([found])
    context |= {"one": one, "max_errors": importing.MAX_ERRORS}
    return private_page(request, "jobs/work.html", context, status=status)


async def _visible(request: HttpRequest, pk: int) -> Work:
    found = await services.visible_to(request.user).filter(pk=pk).afirst()
    if found is None:
        raise Http404("There is no such job.")
    return found


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
