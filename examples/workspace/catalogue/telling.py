"""Who is told what of orders and stock. All of it is part of the caller's transaction."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.urls import reverse

import rooms.services
from accounts.models import Role
from catalogue.models import Order, Product
from notices.models import Notice
from notices.services import notify

# The room in which orders are told, if there is one.
ROOM = "orders"


async def placed(order: Order, items: int) -> None:
    """The buyer and the room; the room last, since it stays locked until the commit."""
    if order.user_id is not None:
        text = f"Your order of {_count(items)} for {euros(order)} is placed."
        await notify([order.user_id], Notice.Kind.ORDER, text, _path(order))
    await rooms.services.notify(ROOM, placed_text(order, items))


async def cancelled(order: Order, by: Any) -> None:
    if order.user_id is not None and order.user_id != getattr(by, "pk", None):
        text = f"Your order for {euros(order)} was cancelled by the shop."
        await notify([order.user_id], Notice.Kind.ORDER, text, _path(order))
    text = f"The order of {order.customer_name} for {euros(order)} is cancelled."
    await rooms.services.notify(ROOM, text)


async def sold_out(products: Iterable[Product]) -> None:
    """Owners learn which products have run out."""
    if not (gone := list(products)):
        return
    told = await owners().alist()
    for product in gone:
        path = reverse("item", args=[product.sku])
        await notify(told, Notice.Kind.ORDER, f"{product.name} has run out.", path)


def owners() -> QuerySet[Any]:
    users = get_user_model().objects.filter(is_active=True)
    return users.filter(Q(is_superuser=True) | Q(profile__role=Role.OWNER)).only("pk")


def placed_text(order: Order, items: int) -> str:
    """What the room of orders is told."""
    return f"{order.customer_name} ordered {_count(items)} for {euros(order)}."


def euros(order: Order) -> str:
    return f"€\N{NO-BREAK SPACE}{order.total}"


def _count(items: int) -> str:
    return f"{items} item{'' if items == 1 else 's'}"


def _path(order: Order) -> str:
    return reverse("order-page", args=[order.reference])
