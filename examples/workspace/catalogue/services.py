"""Orders and stock. Every change of a stock is in this file, each in one transaction.

Two rules keep the numbers right however many clients order at once:

- the rows of the products are locked before they are looked at, always in the order of their
  primary keys, so that two orders for the same products never hold what the other waits for
  (SQLite has no row locks: ``select_for_update`` is without effect there, and the transaction
  has the whole file for itself from its first statement);
- a stock is changed by a difference, ``stock = stock - n``, and the table's CHECK constraint
  refuses to go below zero. Even code that forgot to lock cannot sell what is not there.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Case, F, QuerySet, When
from django.utils import timezone

from catalogue.models import MAX_STOCK, Order, OrderLine, Product
from rooms.services import notify

# The room in which orders are told, if there is one.
ROOM = "orders"


@dataclass(frozen=True)
class Shortage:
    product: Product
    wanted: int


class UnknownProducts(Exception):
    def __init__(self, ids: list[int]) -> None:
        super().__init__(f"no products {ids}")
        self.ids = ids


class OutOfStock(Exception):
    def __init__(self, shortages: list[Shortage]) -> None:
        super().__init__("not enough in stock")
        self.shortages = shortages


class UnknownOrder(Exception):
    pass


class AlreadyCancelled(Exception):
    pass


class StockOutOfRange(Exception):
    pass


async def place_order(name: str, email: str, wanted: Mapping[int, int]) -> Order:
    """Take ``wanted`` (product id to quantity) from stock and write the order: all or nothing.

    Raises ``UnknownProducts`` or ``OutOfStock``, with every product that is at fault.
    """
    async with transaction.atomic():
        products = await _locked(wanted).alist()
        if unknown := sorted(wanted.keys() - {product.pk for product in products}):
            raise UnknownProducts(unknown)
        if shortages := [
            Shortage(product, wanted[product.pk])
            for product in products
            if product.stock < wanted[product.pk]
        ]:
            raise OutOfStock(shortages)
        await _add_to_stock({pk: -quantity for pk, quantity in wanted.items()})
        order = await Order.objects.acreate(
            customer_name=name,
            customer_email=email,
            total=sum(product.price * wanted[product.pk] for product in products),
        )
        await OrderLine.objects.abulk_create(
            OrderLine(
                order=order,
                product=product,
                quantity=wanted[product.pk],
                unit_price=product.price,
            )
            for product in products
        )
        await notify(ROOM, placed_text(order, sum(wanted.values())))
    return order


def placed_text(order: Order, items: int) -> str:
    """What the room of orders is told."""
    plural = "" if items == 1 else "s"
    return f"{order.customer_name} ordered {items} item{plural} for {_euros(order)}."


def _euros(order: Order) -> str:
    return f"€\N{NO-BREAK SPACE}{order.total}"


@transaction.atomic
async def cancel_order(reference: uuid.UUID) -> Order:
    """Put the goods back into stock. Raises ``UnknownOrder`` or ``AlreadyCancelled``."""
    try:
        order = await Order.objects.select_for_update().aget(reference=reference)
    except Order.DoesNotExist:
        raise UnknownOrder from None
    if order.status == Order.Status.CANCELLED:
        raise AlreadyCancelled
    returned = {line.product_id: line.quantity for line in order.lines.all()}
    await _locked(returned).alist()
    await _add_to_stock(returned)
    order.status = Order.Status.CANCELLED
    order.cancelled_at = timezone.now()
    await order.asave(update_fields=["status", "cancelled_at"])
    await notify(ROOM, f"The order of {order.customer_name} for {_euros(order)} is cancelled.")
    return order


def adjust_stock(product_id: int, change: int) -> None:
    """Goods that came in, or were found broken. For sync callers, in one statement.

    Raises ``StockOutOfRange`` where the result would not lie between 0 and ``MAX_STOCK``.
    """
    changed = Product.objects.filter(
        pk=product_id, stock__gte=-change, stock__lte=MAX_STOCK - change
    ).update(stock=F("stock") + change)
    if not changed:
        raise StockOutOfRange


def _locked(wanted: Mapping[int, int]) -> QuerySet[Product]:
    return Product.objects.select_for_update().filter(pk__in=wanted).order_by("pk")


async def _add_to_stock(changes: Mapping[int, int]) -> None:
    change = Case(*(When(pk=pk, then=quantity) for pk, quantity in changes.items()))
    await Product.objects.filter(pk__in=changes).aupdate(stock=F("stock") + change)
