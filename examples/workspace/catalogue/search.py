"""What somebody looks for in the catalogue; all of it is in the address."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet

from catalogue.models import Category, Product
from workspace.api import ApiError
from workspace.api.fields import Invalid, query_text

# Each order ends in the primary key: names and prices repeat, and pages need a total one.
ORDERS = {
    "": ("Name", ["name", "pk"]),
    "price": ("Cheapest first", ["price", "name", "pk"]),
    "-price": ("Dearest first", ["-price", "name", "pk"]),
    "newest": ("Newest first", ["-pk"]),
}


@dataclass(frozen=True)
class Search:
    """``q`` are words, each of them in the name, the SKU or the category."""

    q: str = ""
    category: str = ""
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool = False
    sort: str = ""

    @property
    def is_narrowed(self) -> bool:
        return replace(self, sort="") != Search()

    @property
    def query(self) -> str:
        """As part of an address, without what is not asked for."""
        values = {name: value for name, value in asdict(self).items() if value}
        return urlencode(values | ({"in_stock": 1} if self.in_stock else {}))


@dataclass(frozen=True)
class Way:
    """Another search that finds something."""

    text: str
    search: Search
    found: int


def read(query: Mapping[str, str]) -> Search:
    """Raises ``ApiError`` 400 that says what is wrong with each part."""
    wrong: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, check in CHECKS.items():
        try:
            values[name] = check(query.get(name, ""))
        except Invalid as error:
            wrong[name] = str(error)
    for name, longest in (("q", 100), ("category", 80)):
        try:
            values[name] = query_text(query, name, longest)
        except ApiError as error:
            wrong |= error.fields
    if wrong:
        raise ApiError(400, "The query is not valid.", fields=wrong)
    found = Search(**values)
    if None not in (found.min_price, found.max_price) and found.min_price > found.max_price:
        text = "Must not be less than the lowest price."
        raise ApiError(400, "The query is not valid.", fields={"max_price": text})
    return found


async def find(search: Search) -> QuerySet[Product]:
    """Raises ``ApiError`` 404 for a category that does not exist."""
    if search.category and not await Category.objects.filter(slug=search.category).aexists():
        raise ApiError(404, "There is no such category.", fields={"category": "Unknown slug."})
    _, order = ORDERS[search.sort]
    found = Product.objects.select_related("category").filter(_condition(search))
    return found.order_by(*order)


async def wider(search: Search) -> list[Way]:
    """For a search that finds nothing: what it finds with one condition less, most first."""
    ways = [("In all categories", replace(search, category=""))]
    ways.append(("At any price", replace(search, min_price=None, max_price=None)))
    ways.append(("With what is sold out", replace(search, in_stock=False)))
    if len(words := search.q.split()) > 1:
        ways += [(f"For “{word}” alone", replace(search, q=word)) for word in words[:5]]
    ways.append(("Without the words", replace(search, q="")))
    ways = [(text, way) for text, way in ways if way != search and way.is_narrowed]
    counts = await asyncio.gather(
        *(Product.objects.filter(_condition(way)).acount() for _, way in ways)
    )
    found = [Way(*way, count) for way, count in zip(ways, counts, strict=True) if count]
    return sorted(found, key=lambda way: -way.found)


def _condition(search: Search) -> Q:
    condition = Q()
    for word in search.q.split():
        places = ("name__icontains", "sku__istartswith", "category__name__icontains")
        condition &= reduce(or_, (Q((place, word)) for place in places))
    if search.category:
        condition &= Q(category__slug=search.category)
    if search.min_price is not None:
        condition &= Q(price__gte=search.min_price)
    if search.max_price is not None:
        condition &= Q(price__lte=search.max_price)
    if search.in_stock:
        condition &= Q(stock__gt=0)
    return condition


def _price(text: str) -> Decimal | None:
    if not (written := text.strip()):
        return None
    # People write a comma, too.
    if not re.fullmatch(r"\d{1,8}(\.\d{1,2})?", written.replace(",", "."), re.ASCII):
        raise Invalid("Must be a price such as 12.50.")
    return Decimal(written.replace(",", "."))


def _flag(text: str) -> bool:
    if text not in ("", "0", "1"):
        raise Invalid("Must be 1 or 0.")
    return text == "1"


def _sort(text: str) -> str:
    if text not in ORDERS:
        raise Invalid(f"Must be one of: {', '.join(filter(None, ORDERS))}.")
    return text


CHECKS = {"min_price": _price, "max_price": _price, "in_stock": _flag, "sort": _sort}
