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
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Case, F, QuerySet, When
from django.utils import timezone

from accounts.models import Role
from accounts.roles import has_role
from catalogue import telling
from catalogue.models import MAX_STOCK, Order, OrderLine, Product


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


async def place_order(
    name: str,
    email: str,
    wanted: Mapping[int, int],
    *,
    buyer: Any = None,
    key: uuid.UUID | None = None,
) -> Order:
    """Take ``wanted`` (product id to quantity) from stock and write the order: all or nothing.

    The order is ``buyer``'s, if there is one. What a buyer asks for again with the same ``key``
    is not ordered again: the order of the first time is returned.

    Raises ``UnknownProducts`` or ``OutOfStock``, with every product that is at fault.
    """
    async with transaction.atomic():
        if key is not None and (earlier := await placed_before(buyer, key)):
            return earlier
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
            user=buyer,
            key=key,
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
        await telling.sold_out([each for each in products if each.stock == wanted[each.pk]])
        await telling.placed(order, sum(wanted.values()))
    return order


async def placed_before(buyer: Any, key: uuid.UUID) -> Order | None:
    """The order that this buyer has placed with this key.

    Locks the buyer until the transaction ends, so a form that is sent twice at once finds here
    what its first copy has done.
    """
    await lock_buyer(buyer)
    return await Order.objects.filter(user=buyer, key=key).afirst()


async def lock_buyer(user: Any) -> None:
    """One at a time for each buyer. Rows that refer to the user can still be written."""
    users = get_user_model().objects.select_for_update(no_key=True)
    await users.values_list("pk").aget(pk=user.pk)


def visible_to(user: Any) -> QuerySet[Order]:
    """Everybody sees their own orders, owners see all."""
    return Order.objects.all() if has_role(user, Role.OWNER) else of_user(user)


def of_user(user: Any) -> QuerySet[Order]:
    return Order.objects.filter(user=user.pk)


async def newest_of(user: Any, number: int) -> list[Order]:
    """The user's newest orders, with what is in them."""
    return await of_user(user).prefetch_related("lines__product")[:number].alist()


def without_account() -> QuerySet[Order]:
    """For clients that have nothing but an order's reference."""
    return Order.objects.filter(user=None)


@transaction.atomic
async def cancel_order(
    reference: uuid.UUID, among: QuerySet[Order], *, by: Any = None
) -> Order:
    """Put the goods back into stock; the buyer is told unless it is ``by`` whom it happens.

    ``among`` are the orders that the caller may cancel. Raises ``UnknownOrder`` or
    ``AlreadyCancelled``.
    """
    try:
        order = await among.select_for_update().aget(reference=reference)
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
    await telling.cancelled(order, by)
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
