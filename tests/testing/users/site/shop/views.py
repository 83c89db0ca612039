"""Views of both kinds; what `?fail=1` asks for goes wrong after the work."""

import asyncio

from django.db import connection, transaction
from django.http import JsonResponse

from shop.models import Author, Book

sent = []


async def authors(request):
    names = [author.name async for author in Author.objects.order_by("name")]
    return JsonResponse({"names": names})


def authors_sync(request):
    names = [author.name for author in Author.objects.order_by("name")]
    return JsonResponse({"names": names})


async def add(request):
    async def receipt():
        sent.append(request.GET["name"])

    await Author.objects.acreate(name=request.GET["name"])
    transaction.on_commit(receipt)
    if request.GET.get("fail"):
        raise ZeroDivisionError
    return JsonResponse({"atomic": connection.in_atomic_block})


def add_sync(request):
    Author.objects.create(name=request.GET["name"])
    transaction.on_commit(lambda: sent.append(request.GET["name"]))
    if request.GET.get("fail"):
        raise ZeroDivisionError
    return JsonResponse({"atomic": connection.in_atomic_block})


async def books(request):
    """Parallel queries, and a relation that is loaded when it is asked for."""
    names, titles = await asyncio.gather(
        Author.objects.acount(), Book.objects.order_by("id").alist()
    )
    return JsonResponse({"authors": names, "by": [book.author.name for book in titles]})


async def visits(request):
    user = await request.auser()
    count = await request.session.aget("visits", 0) + 1
    await request.session.aset("visits", count)
    return JsonResponse({"user": user.username, "visits": count})


def visits_sync(request):
    count = request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"user": request.user.username, "visits": count})
