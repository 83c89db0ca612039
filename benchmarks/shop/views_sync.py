"""Plain synchronous Django, for WSGI."""

from django.db import transaction
from django.db.models import F
from django.http import JsonResponse

from benchmarks.endpoints import IN_TURN, JOINED, SLOW_S

from .models import Book


def hello(request):
    return JsonResponse({"hello": "world"})


def row(request, pk):
    book = Book.objects.get(pk=pk)
    return JsonResponse(book.as_dict())


def join(request, pk):
    books = Book.objects.select_related("author").filter(pk__gte=pk).order_by("pk")[:JOINED]
    return JsonResponse({"books": [book.with_author() for book in books]})


def ten(request, pk):
    books = [Book.objects.get(pk=key) for key in range(pk, pk + IN_TURN)]
    return JsonResponse({"books": [book.as_dict() for book in books]})


def update(request, pk):
    with transaction.atomic():
        updated = Book.objects.filter(pk=pk).update(sold=F("sold") + 1)
    return JsonResponse({"updated": updated})


def user(request):
    return JsonResponse({"user": request.user.get_username()})


def slow(request, pk):
    query = "SELECT book.*, pg_sleep(%s) AS slept FROM book WHERE id = %s"
    return JsonResponse(Book.objects.raw(query, [SLOW_S, pk])[0].as_dict())
