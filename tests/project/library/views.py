"""One view of each kind: async and sync, with and without the database."""

import threading

from django.http import JsonResponse

from .models import Book


async def ping(request):
    return JsonResponse({"ping": "pong"})


def where(request):
    """A sync view, which says where it runs."""
    return JsonResponse(
        {"in_main_thread": threading.current_thread() is threading.main_thread()}
    )


async def books(request):
    """The explicit way: `async for`, and no lazy relation."""
    queryset = Book.objects.select_related("author")
    return JsonResponse(
        {
            "books": [
                {"title": book.title, "author": book.author.name} async for book in queryset
            ]
        }
    )


def books_sync(request):
    """The same, written as for WSGI."""
    return JsonResponse(
        {
            "books": [
                {"title": book.title, "author": book.author.name} for book in Book.objects.all()
            ]
        }
    )
