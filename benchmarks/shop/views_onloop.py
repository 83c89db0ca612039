"""On Onloop: the stock asynchronous views as they are, and a transaction without a thread."""

from django.db import transaction
from django.db.models import F
from django.http import JsonResponse

from .models import Book
from .views_stock import hello, join, row, ten
from .views_sync import slow

__all__ = ["hello", "join", "row", "slow", "ten", "update", "user"]


async def update(request, pk):
    async with transaction.atomic():
        updated = await Book.objects.filter(pk=pk).aupdate(sold=F("sold") + 1)
    return JsonResponse({"updated": updated})


async def user(request):
    return JsonResponse({"user": request.user.get_username()})
