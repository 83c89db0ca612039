"""The pages. They can be read and written in without JavaScript; with it they are live."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

import onloop.rooms
from accounts.models import Role
from accounts.roles import has_role
from files import serving, storing
from files.models import StoredFile
from files.naming import BadName, clean_name
from files.views import FORM_BYTES
from onloop import limits
from rooms import attachments, people, services
from rooms.errors import BadMessage, Gone, NotAllowed, NotAMember
from rooms.models import Membership, Room
from rooms.naming import log_of
from workspace.pages import private_page

View = Callable[..., Awaitable[HttpResponseBase]]

# So many of one's files can be chosen from.
RECENT_FILES = 50


@login_required
async def index(request: HttpRequest) -> HttpResponse:
    memberships = await services.memberships_of(request.user).alist()
    context = {
        "memberships": [member for member in memberships if not member.room.archived],
        "archived": [member for member in memberships if member.room.archived],
        "open_rooms": await people.rooms_to_join(request.user).alist(),
        "by_invitation": await people.rooms_by_invitation(request.user).alist(),
        "may_create": has_role(request.user, Role.MEMBER),
    }
    return private_page(request, "rooms/index.html", context)


@limits(max_body=FORM_BYTES)
@login_required
async def room(request: HttpRequest, slug: str) -> HttpResponse:
    try:
        member = await services.membership(request.user, slug)
        if request.method == "POST":
            return await _post(request, member)
    except NotAMember:
        raise Http404("You are in no such room.") from None
    return await _history(request, member, before=_number(request.GET.get("before")))


@require_safe
@login_required
async def message(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Where notices lead: the page that has a message, old or new."""
    try:
        member = await services.membership(request.user, slug)
    except NotAMember:
        raise Http404("You are in no such room.") from None
    query = f"?before={number + 1}" if number <= member.last - services.PAGE else ""
    return redirect(f"{reverse('room', args=[slug])}{query}#message-{number}")


def for_members(view: View) -> View:
    """Gives the view a file that was shown in the room, if it is still there."""

    @wraps(view)
    async def wrapped(
        request: HttpRequest, slug: str, pk: uuid.UUID, **kwargs: Any
    ) -> HttpResponseBase:
        try:
            room, file = await attachments.find(request.user, slug, pk)
        except NotAMember:
            raise Http404("There is no such file in your rooms.") from None
        except Gone:
            return private_page(request, "rooms/gone.html", {"slug": slug}, status=410)
        return await view(request, room, file, **kwargs)

    return require_safe(login_required(wrapped))


@for_members
async def attached(request: HttpRequest, room: Room, file: StoredFile) -> HttpResponseBase:
    return await serving.download(request, file)


@for_members
async def attached_about(
    request: HttpRequest, room: Room, file: StoredFile
) -> HttpResponseBase:
    context = await serving.shown(file) | {"room": room}
    return private_page(request, "rooms/attached.html", context)


@for_members
async def attached_picture(
    request: HttpRequest, room: Room, file: StoredFile, kind: str
) -> HttpResponseBase:
    return await serving.picture(request, file, kind)


async def _post(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form, for browsers without JavaScript."""
    text = request.POST.get("text", "")
    uploads = request.FILES.getlist("upload")
    try:
        chosen = [pk for pk in request.POST.getlist("file") if pk]
        draft = services.clean(text, chosen, uploads=bool(uploads))
        if len(draft.files) + len(uploads) > attachments.AT_ONCE:
            raise BadMessage(f"A message has at most {attachments.AT_ONCE} files.")
        if reason := services.why_silent(member):
            raise NotAllowed(reason)
        names = [clean_name(upload.name) for upload in uploads]
        key = request.POST.get("key")
        if await services.was_posted(member, key):
            return redirect("room", member.room.slug)  # sent twice: nothing is stored again
        async with attachments.uploaded(request.user, names, uploads) as files:
            draft = replace(draft, files=[*draft.files, *files])
            await services.post(member, draft, key)
    except (ValueError, BadName, storing.NoRoom) as error:
        return await _history(request, member, text=text, error=error, status=400)
    except NotAllowed as error:
        member = await services.membership(request.user, member.room.slug)
        return await _history(request, member, text=text, error=error, status=403)
    return redirect("room", member.room.slug)


async def _history(
    request: HttpRequest,
    member: Membership,
    *,
    before: int | None = None,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    log = log_of(member.room.slug)
    messages = await onloop.rooms.ahistory(log, before=before, limit=services.PAGE)
    bodies = await attachments.describe(message.body for message in messages)
    for message, body in zip(messages, bodies, strict=True):
        message.body = body
    unread = (message.number for message in messages if message.number > member.read)
    if before is None and messages:
        await services.mark_read(member, messages[-1].number)
    silent = services.why_silent(member)
    if not silent:
        context["files"] = StoredFile.objects.filter(owner=member.user)[:RECENT_FILES]
    rooms = await services.current_of(request.user).alist()
    names = await member.room.members.values_list("username", flat=True).alist()
    context |= {
        "room": member.room,
        "messages": messages,
        "older": messages[0].number if messages and messages[0].number > 1 else None,
        "live": before is None,
        "first_new": next(unread, None),
        "present": await onloop.rooms.apresent(log),
        "memberships": rooms,
        "names": sorted(names),
        "silent": silent,
        "max_text": services.MAX_TEXT,
        "max_bytes": storing.MAX_BYTES,
        "at_once": attachments.AT_ONCE,
        "key": uuid.uuid4(),
    }
    return private_page(request, "rooms/room.html", context, status=status)


def _number(text: str | None) -> int | None:
    """The number of a message in an address."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404("There is no such page.")
    return int(text)
