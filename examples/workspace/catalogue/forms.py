"""What a client may send to the catalogue, and what it gets to see."""

from collections.abc import Iterable
from typing import Any

from django import forms

from catalogue.models import MAX_STOCK, Order, OrderLine, Product
from workspace.api import ApiError, Field, clean
from workspace.api.fields import email, identifier, text, whole

MAX_QUANTITY = 10_000
MAX_LINES = 100

CUSTOMER = {"name": Field(text(120)), "email": Field(email())}
LINE = {"product": Field(identifier()), "quantity": Field(whole(1, MAX_QUANTITY))}


class StockForm(forms.Form):
    change = forms.IntegerField(
        min_value=-MAX_STOCK, max_value=MAX_STOCK, widget=forms.NumberInput({"required": True})
    )

    def clean_change(self) -> int:
        change: int = self.cleaned_data["change"]
        if not change:
            raise forms.ValidationError("Say how many came in, or, with a minus, went.")
        return change


def clean_order(data: Any) -> tuple[str, str, dict[int, int]]:
    """Customer's name and e-mail address, and a quantity for each product.

    A product on several lines counts once, with the sum. Raises ``ApiError`` 400.
    """
    order = clean(data, {"customer": Field(_object), "lines": Field(_list)})
    wrong: dict[str, Any] = {}
    customer = _part(order["customer"], CUSTOMER, "customer", wrong)
    if not 1 <= len(order["lines"]) <= MAX_LINES:
        wrong["lines"] = f"Must be a list of 1 to {MAX_LINES} lines."
    wanted: dict[int, int] = {}
    for position, line in enumerate(order["lines"][:MAX_LINES]):
        if values := _part(line, LINE, f"lines.{position}", wrong):
            wanted[values["product"]] = wanted.get(values["product"], 0) + values["quantity"]
    for product, quantity in wanted.items():
        if quantity > MAX_QUANTITY:
            wrong["lines"] = f"More than {MAX_QUANTITY} of product {product} in all."
    if wrong:
        raise ApiError(400, "Some fields are not valid.", fields=wrong)
    return customer["name"], customer["email"], wanted


def _part(
    data: Any, fields: dict[str, Field], path: str, wrong: dict[str, Any]
) -> dict[str, Any]:
    """A nested object; what is wrong with it goes into ``wrong`` under its path."""
    try:
        return clean(data, fields)
    except ApiError as error:
        if error.fields:
            wrong.update({f"{path}.{name}": text for name, text in error.fields.items()})
        else:
            wrong[path] = "Must be an object."
        return {}


def _object(value: Any) -> Any:
    return value  # looked at as a whole by ``_part``


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def product_json(product: Product) -> dict[str, Any]:
    """Reads ``product.category``: a query of its own unless the caller selected it."""
    return {
        "id": product.pk,
        "sku": product.sku,
        "name": product.name,
        "description": product.description,
        "category": {"slug": product.category.slug, "name": product.category.name},
        "price": product.price,
        "stock": product.stock,
    }


def order_json(order: Order, lines: Iterable[OrderLine] | None = None) -> dict[str, Any]:
    """``lines``: if they have been read; else they are, lazily."""
    if lines is None:
        lines = order.lines.select_related("product")
    return {
        "reference": order.reference,
        "status": order.status,
        "customer": {"name": order.customer_name, "email": order.customer_email},
        "total": order.total,
        "created_at": order.created_at,
        "cancelled_at": order.cancelled_at,
        "lines": [
            {
                "product": line.product_id,
                "sku": line.product.sku,
                "name": line.product.name,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
            }
            for line in lines
        ],
    }
