"""The figures of the summary, and orders by words."""

import asyncio
from decimal import Decimal
from typing import Any

from django.db.models import Avg, Count, F, Max, Min, Q, QuerySet, Sum

from catalogue.models import Category, Order, OrderLine, Product


async def summary() -> dict[str, Any]:
    """Ten queries that do not depend on each other, all under way at once.

    Outside a transaction each has a connection of its own, so the whole takes about as long as
    the slowest. The price: they may see ten different moments.
    """
    products = Product.objects.all()
    placed = Order.objects.filter(status=Order.Status.PLACED)
    sold = OrderLine.objects.filter(order__status=Order.Status.PLACED)
    queries = {
        "products": products.acount(),
        "categories": Category.objects.acount(),
        "sold_out": products.filter(stock=0).acount(),
        "stock": products.aaggregate(units=Sum("stock"), value=Sum(F("stock") * F("price"))),
        "prices": products.aaggregate(
            lowest=Min("price"), mean=Avg("price"), highest=Max("price")
        ),
        "orders_cancelled": Order.objects.filter(status=Order.Status.CANCELLED).acount(),
        "orders_placed": placed.aaggregate(count=Count("pk"), revenue=Sum("total")),
        "latest_order": placed.order_by("-created_at")
        .values_list("created_at", flat=True)
        .afirst(),
        "best_sellers": sold.values(sku=F("product__sku"), name=F("product__name"))
        .annotate(units=Sum("quantity"))
        .order_by("-units", "sku")[:5]
        .alist(),
        "largest_categories": Category.objects.values("slug", "name")
        .annotate(products=Count("products"))
        .order_by("-products", "slug")[:5]
        .alist(),
    }
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(query) for name, query in queries.items()}
    return {name: _rounded(task.result()) for name, task in tasks.items()}


def _rounded(figures: Any) -> Any:
    """Amounts to the cent: SQLite adds and averages decimals as floating point numbers."""
    if not isinstance(figures, dict):
        return figures
    return {
        name: value.quantize(Decimal("0.01")) if isinstance(value, Decimal) else value
        for name, value in figures.items()
    }


def orders_with(orders: QuerySet[Order], words: str) -> QuerySet[Order]:
    """Those whose customer or product is called so; all of them without words."""
    if not words:
        return orders
    named = Q(customer_name__icontains=words) | Q(customer_email__icontains=words)
    bought = Q(pk__in=orders.filter(lines__product__name__icontains=words).values("pk"))
    return orders.filter(named | bought)
