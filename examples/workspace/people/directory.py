"""The directory as a page, for everybody who is logged in."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import Role
from accounts.roles import has_role, requires
from people.models import Team
from people.queries import find_people
from workspace.api import ApiError, paginate
from workspace.pages import private_page


@require_safe
@requires(Role.GUEST)
async def directory(request: HttpRequest) -> HttpResponse:
    try:
        page = await paginate(find_people(request.GET), request.GET, per_page=24)
    except ApiError as error:
        if error.status == 404:
            raise Http404(error.message) from None
        return render(request, "400.html", {"error": error}, status=error.status)
    context = {
        "page": page,
        "people": await page.rows.alist(),
        "teams": await Team.objects.alist(),
        "q": request.GET.get("q", ""),
        "chosen": request.GET.get("team", ""),
        "may_change_roles": has_role(request.user, Role.OWNER),
    }
    return private_page(request, "people/directory.html", context)
