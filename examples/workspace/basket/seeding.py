"""Orders and a basket for the accounts of the demo."""

from typing import Any

from basket.models import BasketLine
from catalogue.models import Order, Product

# One in so many of the latest orders is one account's.
EVERY = 40
ORDERS = 24


def give(user: Any, place: int) -> None:
    """Make some of the orders that were placed the user's; accounts differ by ``place``."""
    latest = Order.objects.order_by("-created_at")[: EVERY * ORDERS]
    name = user.get_full_name() or user.get_username().title()
    own = [order for number, order in enumerate(latest, 7 * place) if number % EVERY == 0]
    for order in own:
        order.user = user
        order.customer_name = name
        order.customer_email = user.email or f"{user.get_username()}@example.org"
    Order.objects.bulk_update(own, ["user", "customer_name", "customer_email"])


def fill(user: Any) -> None:
    """A basket that somebody has begun."""
    products = Product.objects.order_by("pk")
    chosen = [products.filter(stock__gte=20)[place] for place in (19, 260)]
    BasketLine.objects.bulk_create(
        [
            BasketLine(user=user, product=chosen[0], quantity=1),
            BasketLine(user=user, product=chosen[1], quantity=4),
        ]
    )
