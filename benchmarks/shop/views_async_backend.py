"""On django-async-backend: its `async_objects` manager and its `async_atomic`."""

from django.db.models import F
from django.http import JsonResponse
from django_async_backend.db.transaction import async_atomic

from benchmarks.endpoints import IN_TURN, JOINED

from .models import Book
from .views_stock import hello

__all__ = ["hello", "join", "row", "ten", "update"]


async def row(request, pk):
    book = await Book.async_objects.aget(pk=pk)
    return JsonResponse(book.as_dict())


async def join(request, pk):
    books = (
        Book.async_objects.select_related("author").filter(pk__gte=pk).order_by("pk")[:JOINED]
    )
    return JsonResponse({"books": [book.with_author() async for book in books]})


async def ten(request, pk):
    books = [await Book.async_objects.aget(pk=key) for key in range(pk, pk + IN_TURN)]
    return JsonResponse({"books": [book.as_dict() for book in books]})


async def update(request, pk):
    async with async_atomic():
        updated = await Book.async_objects.filter(pk=pk).aupdate(sold=F("sold") + 1)
    return JsonResponse({"updated": updated})
