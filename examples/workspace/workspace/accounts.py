"""The visitor's own account. Log-in and log-out are Django's sync views (see ``urls``)."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from workspace.api import ApiError, Field, api_view, clean, read_json
from workspace.api.fields import text

NAMES = {
    "first_name": Field(text(150, blank=True)),
    "last_name": Field(text(150, blank=True)),
}


@login_required
async def profile(request: HttpRequest) -> HttpResponse:
    """The template reads ``request.user`` and its groups, each with a lazy query."""
    return render(request, "accounts/profile.html")


@api_view("GET", "PATCH", uses_session=True)
async def me(request: HttpRequest) -> HttpResponse:
    """The same as JSON. It trusts the session cookie, so PATCH needs the CSRF token."""
    user = request.user
    if not user.is_authenticated:
        raise ApiError(401, "Log in first.", headers={"WWW-Authenticate": "Session"})
    if request.method == "PATCH":
        names = clean(read_json(request), NAMES, partial=True)
        for name, value in names.items():
            setattr(user, name, value)
        await user.asave(update_fields=list(names))
    return JsonResponse(
        {
            "username": user.get_username(),
            "first_name": user.first_name,
            "last_name": user.last_name,
            "is_staff": user.is_staff,
            "groups": [group.name for group in user.groups.order_by("name")],
        }
    )
