"""The catalogue as a table in a file: CSV in UTF-8, one product a row, names in the first.

A spreadsheet takes a cell that begins with ``=`` or the like for a formula. Such text is
written with an apostrophe in front, which is taken away again when it is read.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catalogue.models import MAX_STOCK, Product
from workspace.api.fields import Invalid, text

REQUIRED = ["sku", "name", "category", "price"]
OPTIONAL = {"stock": "0", "description": ""}
COLUMNS = [*REQUIRED, *OPTIONAL]
MAX_DESCRIPTION = 2000
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BadTable(Exception):
    """The rest of the file cannot be read. Its text is for whoever wrote the file."""


@dataclass(frozen=True)
class Item:
    sku: str
    name: str
    category: str  # its slug
    price: Decimal
    stock: int
    description: str


@dataclass(frozen=True)
class Row:
    """``number`` as in a spreadsheet, where names are in row 1; ``end`` in the text.

    If there is an ``error``, there is no ``item``.
    """

    number: int
    end: int
    error: str = ""
    item: Any = None


def read_rows(table: str) -> Iterator[Row]:
    """Each row that is not empty. Raises ``BadTable``."""
    file = io.StringIO(table, newline="")
    reader = enumerate(csv.reader(file, strict=True), 1)
    number = 0
    try:
        names = _names(next(reader, (1, []))[1])
        number = 1
        for number, cells in reader:
            if any(cells):
                yield _row(number, file.tell(), names, cells)
    except csv.Error as error:
        raise BadTable(f"Row {number + 1} cannot be read: {error}.") from None


def _names(cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if missing := [name for name in REQUIRED if name not in names]:
        raise BadTable(f"The first row must name the columns; missing: {', '.join(missing)}.")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise BadTable(f"There is no such column: {', '.join(unknown)[:100]}.")
    if len(set(names)) < len(names):
        raise BadTable("Two columns have the same name.")
    return names


def _row(number: int, end: int, names: list[str], cells: list[str]) -> Row:
    if len(cells) != len(names):
        return Row(number, end, f"It has {len(cells)} cells, not {len(names)}.")
    given = OPTIONAL | dict(zip(names, map(_without_apostrophe, cells), strict=True))
    values, wrong = {}, []
    for name, check in CHECKS.items():
        try:
            values[name] = check(given[name])
        except Invalid as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        return Row(number, end, " ".join(wrong))
    return Row(number, end, item=Item(**values))


def write_rows(products: Iterable[Product], *, names: bool = False) -> str:
    """Rows of products whose categories are selected; with ``names`` the first row too."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    if names:
        writer.writerow(COLUMNS)
    for product in products:
        cells = [product.sku, product.name, product.category.slug, product.price]
        writer.writerow(map(_with_apostrophe, [*cells, product.stock, product.description]))
    return file.getvalue()


def _with_apostrophe(value: Any) -> str:
    cell = str(value)
    return f"'{cell}" if cell.lstrip("'").startswith(FORMULA) else cell


def _without_apostrophe(cell: str) -> str:
    # One of several: text that had some before keeps them.
    is_marked = cell.startswith("'") and cell.lstrip("'").startswith(FORMULA)
    return cell[1:] if is_marked else cell


def _sku(value: str) -> str:
    checked: str = text(20)(value)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", checked):
        raise Invalid("Only letters, digits, “-” and “_”.")
    return checked


def _price(value: str) -> Decimal:
    if not re.fullmatch(r"\d{1,8}(\.\d{1,2})?", value.strip(), re.ASCII):
        raise Invalid("Must be a number such as 12.50.")
    if not (price := Decimal(value.strip())):
        raise Invalid("Must be more than 0.")
    return price


def _stock(value: str) -> int:
    if not re.fullmatch(r"\d{1,7}", value.strip(), re.ASCII):
        raise Invalid("Must be a whole number.")
    if (stock := int(value)) > MAX_STOCK:
        raise Invalid(f"Must be at most {MAX_STOCK}.")
    return stock


CHECKS: dict[str, Callable[[str], Any]] = {
    "sku": _sku,
    "name": text(120),
    "category": text(80),
    "price": _price,
    "stock": _stock,
    "description": text(MAX_DESCRIPTION, blank=True),
}
