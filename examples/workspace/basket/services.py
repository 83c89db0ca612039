"""Baskets, and the way from a basket to an order.

Whoever changes a basket locks its user first. So two windows of one user come one after the
other, and a form that is sent twice finds what its first copy has done.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Role
from accounts.roles import require
from basket.models import BasketLine
from catalogue import services
from catalogue.forms import MAX_LINES, MAX_QUANTITY
from catalogue.models import Order, Product
from catalogue.services import OutOfStock, Shortage, UnknownProducts


class Full(Exception):
    """Its text is for whoever fills the basket."""


class Empty(Exception):
    pass


class Changed(Exception):
    """The basket, or a price in it, is not what its owner has seen."""


@dataclass(frozen=True)
class Basket:
    lines: list[BasketLine]

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def items(self) -> int:
        return sum(line.quantity for line in self.lines)

    @property
    def short(self) -> list[BasketLine]:
        """What there is not enough of."""
        return [line for line in self.lines if line.is_short]

    @property
    def mark(self) -> str:
        """Says what is in it and what that costs: different as soon as one of them is."""
        parts = [(line.product_id, line.quantity, line.product.price) for line in self.lines]
        text = " ".join(f"{pk}:{quantity}:{price}" for pk, quantity, price in sorted(parts))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def lines_of(user: Any) -> QuerySet[BasketLine]:
    return BasketLine.objects.filter(user=user.pk).order_by("pk")


async def basket_of(user: Any) -> Basket:
    return Basket(await lines_of(user).select_related("product__category").alist())


async def quantity_of(user: Any, product: Product) -> int:
    """How many of a product are in somebody's basket."""
    found = lines_of(user).filter(product=product).values_list("quantity", flat=True)
    return await found.afirst() or 0


@transaction.atomic
async def add(user: Any, sku: str, quantity: int) -> BasketLine:
    """Raises ``UnknownProducts``, ``Full``, or ``OutOfStock`` where that many are not there.

    This is to say early what cannot be had: nothing is kept back for a basket.
    """
    require(user, Role.GUEST)
    await services.lock_buyer(user)
    product = await Product.objects.filter(sku=sku).afirst()
    if product is None:
        raise UnknownProducts([])
    line = await lines_of(user).filter(product=product).afirst()
    if line is None:
        if await lines_of(user).acount() >= MAX_LINES:
            raise Full(f"A basket holds {MAX_LINES} products. Order these first.")
        line = BasketLine(user=user, quantity=0)
    line.product = product
    line.quantity += quantity
    if line.is_short:
        raise OutOfStock([Shortage(product, line.quantity)])
    if line.quantity > MAX_QUANTITY:
        raise Full(f"At most {MAX_QUANTITY:,} of one product in one order.")
    await line.asave()
    return line


@transaction.atomic
async def set_quantities(user: Any, quantities: Mapping[int, int]) -> None:
    """By product id; 0 takes it out. What is not in the basket (any more) is passed over."""
    require(user, Role.GUEST)
    await services.lock_buyer(user)
    for line in await lines_of(user).filter(product__in=quantities).alist():
        wanted = quantities[line.product_id]
        if not wanted:
            await line.adelete()
        elif wanted != line.quantity:
            line.quantity = wanted
            await line.asave(update_fields=["quantity"])


@transaction.atomic
async def take_what_there_is(user: Any) -> None:
    """Lower each quantity to what is in stock."""
    basket = await basket_of(user)
    await set_quantities(user, {line.product_id: line.product.stock for line in basket.short})


@transaction.atomic
async def check_out(
    user: Any,
    *,
    name: str,
    email: str,
    key: uuid.UUID,
    seen: str,
    quantities: Mapping[int, int] | None = None,
) -> Order:
    """Order what is in the basket, and empty it: one transaction.

    ``seen`` is the mark of the basket that the user was shown, ``quantities`` what stands in
    its fields. The same ``key`` again returns the order of the first time.

    Raises ``Empty``, ``Changed`` or ``OutOfStock``; then the basket is as it was.
    """
    require(user, Role.GUEST)
    if earlier := await services.placed_before(user, key):
        return earlier
    # Prices do not change from here to the commit: the products are locked, as in an order.
    locked = lines_of(user).select_related("product").select_for_update(of=["product"])
    basket = Basket(await locked.order_by("product_id").alist())
    if not basket.lines:
        raise Empty
    wanted = {line.product_id: line.quantity for line in basket.lines}
    if basket.mark != seen or wanted != {**wanted, **(quantities or {})}:
        raise Changed
    await lines_of(user).adelete()
    return await services.place_order(name, email, wanted, buyer=user, key=key)
