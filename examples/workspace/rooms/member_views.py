"""Pages about rooms: who is in them, and what they are called. They need no JavaScript."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from accounts.models import Role
from accounts.roles import requires
from rooms import people
from rooms.errors import BadRequest, NotAMember
from rooms.forms import RoomForm
from workspace.pages import private_page, takes_form_of

View = Callable[..., Awaitable[HttpResponse]]


def for_members(view: View) -> View:
    """Whoever is in no such room learns nothing of it."""

    @wraps(view)
    async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return await view(request, *args, **kwargs)
        except NotAMember:
            raise Http404("You are in no such room.") from None

    return login_required(wrapped)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.MEMBER)
async def new(request: HttpRequest) -> HttpResponse:
    form = RoomForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            room = await people.create(request.user, form.cleaned_data)
        except BadRequest as error:
            form.add_error("name", str(error))
        else:
            return redirect("room", room.slug)
    status = 400 if form.errors else 200
    return private_page(request, "rooms/new.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@for_members
async def members(request: HttpRequest, slug: str) -> HttpResponse:
    """Who is in a room; its managers add people by the form."""
    if request.method != "POST":
        return await _members(request, slug)
    name = request.POST.get("name", "")
    try:
        await people.invite(request.user, slug, name)
    except BadRequest as error:
        return await _members(request, slug, status=400, problem=str(error), name=name)
    return redirect("room-members", slug)


@takes_form_of("room-members", "slug")
@for_members
async def remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    await people.remove(request.user, slug, pk)
    return redirect("room-members", slug)


@takes_form_of("room-members", "slug")
@for_members
async def settings(request: HttpRequest, slug: str) -> HttpResponse:
    form = RoomForm(request.POST)
    if not form.is_valid():
        return await _members(request, slug, status=400, form=form)
    await people.change(request.user, slug, form.cleaned_data)
    return redirect("room-members", slug)


@takes_form_of("room-members", "slug")
@for_members
async def archive(request: HttpRequest, slug: str) -> HttpResponse:
    await people.archive(request.user, slug, archived=request.POST.get("archived") == "1")
    return redirect("room-members", slug)


@takes_form_of("rooms")
@for_members
async def join(request: HttpRequest, slug: str) -> HttpResponse:
    room = await people.join(request.user, slug)
    return redirect("room", room.slug)


@takes_form_of("rooms")
@for_members
async def leave(request: HttpRequest, slug: str) -> HttpResponse:
    await people.leave(request.user, slug)
    return redirect("rooms")


async def _members(
    request: HttpRequest, slug: str, status: int = 200, **context: Any
) -> HttpResponse:
    room, found = await people.members_of(request.user, slug)
    inside = await found.alist()
    is_member = any(member.user_id == request.user.pk for member in inside)
    if may_manage := people.may_manage(request.user, room, is_member=is_member):
        outside = get_user_model().objects.filter(is_active=True).exclude(rooms=room)
        context |= {"outside": outside.order_by("username")[:500]}
        context.setdefault("form", RoomForm(instance=room))
    context |= {
        "room": room,
        "members": inside,
        "is_member": is_member,
        "may_manage": may_manage,
    }
    return private_page(request, "rooms/members.html", context, status=status)
