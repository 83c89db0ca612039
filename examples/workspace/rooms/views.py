"""The pages. They can be read and written in without JavaScript; with it they are live."""

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

import onloop.rooms
from rooms import services
from rooms.models import Membership

# No script, style or frame but the service's own files; the socket is of the same origin.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


@login_required
async def index(request: HttpRequest) -> HttpResponse:
    rooms = await services.memberships_of(request.user).alist()
    return _page(request, "rooms/index.html", {"memberships": rooms})


@login_required
async def room(request: HttpRequest, slug: str) -> HttpResponse:
    try:
        member = await services.membership(request.user, slug)
        if request.method == "POST":
            return await _post(request, member)
    except services.NotAMember:
        raise Http404("You are in no such room.") from None
    return await _history(request, member, before=_number(request.GET.get("before")))


async def _post(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form, for browsers without JavaScript."""
    text = request.POST.get("text", "")
    try:
        await services.post(member, services.clean(text), request.POST.get("key"))
    except ValueError as error:
        return await _history(request, member, text=text, error=error, status=400)
    return redirect("room", member.room.slug)


async def _history(
    request: HttpRequest,
    member: Membership,
    *,
    before: int | None = None,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    log = services.log_of(member.room.slug)
    messages = await onloop.rooms.ahistory(log, before=before, limit=services.PAGE)
    unread = (message.number for message in messages if message.number > member.read)
    if before is None and messages:
        await services.mark_read(member, messages[-1].number)
    context |= {
        "room": member.room,
        "messages": messages,
        "older": messages[0].number if messages and messages[0].number > 1 else None,
        "live": before is None,
        "first_new": next(unread, None),
        "present": await onloop.rooms.apresent(log),
        "memberships": await services.memberships_of(request.user).alist(),
        "max_text": services.MAX_TEXT,
        "key": uuid.uuid4(),
    }
    return _page(request, "rooms/room.html", context, status=status)


def _page(
    request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    response = render(request, template, context, status=status)
    response["Content-Security-Policy"] = POLICY
    response["Cache-Control"] = "no-store"
    return response


def _number(text: str | None) -> int | None:
    """The number of a message in an address."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404("There is no such page.")
    return int(text)
