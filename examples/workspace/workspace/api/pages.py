"""Pages of a QuerySet: counted, bounded, and read by whoever loops over them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet

from workspace.api.errors import ApiError

MAX_PER_PAGE = 100
_BEYOND = 10**18  # more than any table holds, less than an OFFSET may be

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Page(Generic[M]):
    """``rows`` is a slice that nobody has read yet: await its ``alist()``, or loop over it."""

    rows: QuerySet[M]
    number: int
    per_page: int
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.per_page))

    @property
    def previous(self) -> int | None:
        return self.number - 1 if self.number > 1 else None

    @property
    def next(self) -> int | None:
        return self.number + 1 if self.number < self.pages else None

    async def as_json(self, item: Callable[[M], dict[str, Any]]) -> dict[str, Any]:
        return {
            "items": [item(row) for row in await self.rows.alist()],
            "page": self.number,
            "pages": self.pages,
            "per_page": self.per_page,
            "total": self.total,
        }


async def paginate(
    queryset: QuerySet[M], query: Mapping[str, str], *, per_page: int = 25
) -> Page[M]:
    """The page that ``?page=`` and ``?per_page=`` ask for.

    What is not a number from 1 up is refused with 400; a page after the last is not found, 404
    (the first always exists). More than 100 a page are not refused but capped. The order must
    be total, or rows would jump between pages: end ``ordering`` in a unique column.
    """
    number = _positive(query, "page", 1)
    size = min(_positive(query, "per_page", per_page), MAX_PER_PAGE)
    page = Page(queryset, number, size, await queryset.acount())
    if number > page.pages:
        raise ApiError(
            404, "There is no such page.", fields={"page": f"The last page is {page.pages}."}
        )
    start = (number - 1) * size
    return Page(queryset[start : start + size], number, size, page.total)


def _positive(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    digits = text.lstrip("0")
    if not (digits.isascii() and digits.isdigit()):
        raise ApiError(
            400, "The query is not valid.", fields={name: "Must be a whole number from 1 up."}
        )
    # Python refuses to convert thousands of digits, and no page lies out there.
    return int(digits) if len(digits) <= 18 else _BEYOND
