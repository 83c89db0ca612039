"""For owners: which accounts there are, and who has which role."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from accounts import services
from accounts.forms import RoleForm
from accounts.models import Role
from accounts.queries import accounts
from accounts.roles import requires, role_of
from workspace.api import ApiError, paginate
from workspace.api.fields import query_text
from workspace.pages import private_page


@require_safe
@requires(Role.OWNER)
async def index(request: HttpRequest) -> HttpResponse:
    return await _page(request, request.GET)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.OWNER)
async def change(request: HttpRequest, pk: int) -> HttpResponse:
    if request.method != "POST":  # the page of a refusal, loaded anew
        return _list(request.GET)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise Http404("There is no such role.")
    role = Role(form.cleaned_data["role"])
    # What the list was searched for when the button was pressed.
    query = QueryDict(request.POST.get("query", ""))
    try:
        user = await services.change_role(request.user, pk, role)
    except services.UnknownUser:
        raise Http404("There is no such account.") from None
    except services.Refused as error:
        return await _page(request, query, error=error, status=409)
    messages.success(request, f"{user.get_username()}: {role.label}.")
    if user.pk == request.user.pk and role != Role.OWNER:
        return redirect("profile")  # this page is theirs no more
    return _list(query)


def _list(query: QueryDict) -> HttpResponse:
    return redirect(f"{reverse('members')}?{query.urlencode()}")


async def _page(
    request: HttpRequest, query: QueryDict, status: int = 200, **context: Any
) -> HttpResponse:
    try:
        wanted, role = query_text(query, "q", 100), query_text(query, "role", 10)
        page = await paginate(accounts(wanted, role), query)
    except ApiError as error:
        if error.status == 404:
            raise Http404(error.message) from None
        return render(request, "400.html", {"error": error}, status=error.status)
    users = await page.rows.alist()
    context |= {
        "page": page,
        "accounts": [(user, role_of(user)) for user in users],
        "roles": Role,
        "q": wanted,
        "chosen": role,
        "query": query.urlencode(),
    }
    return private_page(request, "accounts/members.html", context, status=status)
