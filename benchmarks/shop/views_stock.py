"""Asynchronous Django as it ships: `a` methods, and a thread for the transaction."""

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import F
from django.http import JsonResponse

from benchmarks.endpoints import IN_TURN, JOINED

from .models import Book
from .views_sync import slow

__all__ = ["hello", "join", "row", "slow", "ten", "update", "user"]


async def hello(request):
    return JsonResponse({"hello": "world"})


async def row(request, pk):
    book = await Book.objects.aget(pk=pk)
    return JsonResponse(book.as_dict())


async def join(request, pk):
    books = Book.objects.select_related("author").filter(pk__gte=pk).order_by("pk")[:JOINED]
    return JsonResponse({"books": [book.with_author() async for book in books]})


async def ten(request, pk):
    books = [await Book.objects.aget(pk=key) for key in range(pk, pk + IN_TURN)]
    return JsonResponse({"books": [book.as_dict() for book in books]})


@sync_to_async
def _sell(pk):
    with transaction.atomic():
        return Book.objects.filter(pk=pk).update(sold=F("sold") + 1)


async def update(request, pk):
    return JsonResponse({"updated": await _sell(pk)})


async def user(request):
    user = await request.auser()
    return JsonResponse({"user": user.get_username()})
