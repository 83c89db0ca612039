"""Signing in and out, sessions and messages, all in async views."""

from django.contrib import messages
from django.contrib.auth import aauthenticate, aget_user, alogin, alogout
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token


async def token(request):
    return HttpResponse(get_token(request))


async def sign_in(request):
    user = await aauthenticate(
        request, username=request.POST["username"], password=request.POST["password"]
    )
    if user is None:
        return HttpResponse("unknown", status=401)
    await alogin(request, user)
    return HttpResponse(user.username)


async def sign_out(request):
    await alogout(request)
    return HttpResponse()


async def me(request):
    """Three ways to the user; the first is lazy, and asks the database where it is used."""
    lazy = request.user.username
    return JsonResponse({
        "lazy": lazy,
        "awaited": (await request.auser()).username,
        "function": (await aget_user(request)).username,
        "staff": (await request.auser()).is_staff,
        "may add": await (await request.auser()).ahas_perm("library.add_book"),
    })  # fmt: skip


def me_sync(request):
    return HttpResponse(request.user.username)


@login_required
async def members_only(request):
    return HttpResponse(request.user.username)


async def visits(request):
    count = await request.session.aget("visits", 0) + 1
    await request.session.aset("visits", count)
    return HttpResponse(str(count))


async def new_key(request):
    await request.session.acycle_key()
    return HttpResponse(request.session.session_key)


async def leave_a_note(request):
    messages.info(request, request.POST["note"])
    return HttpResponse()


async def read_notes(request):
    return JsonResponse({"notes": [str(note) for note in messages.get_messages(request)]})
