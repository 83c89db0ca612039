"""Objects, lists and pages for class-based views whose methods are `async def`.

Django's own mixins do the work, in a bridge: their attributes and hooks mean here what they
mean there, and their errors are raised. They lend single methods instead of being inherited
from, because their `get_context_data` wants an object or a list that a `TemplateView` has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.views.generic.detail import SingleObjectMixin
from django.views.generic.list import MultipleObjectMixin

from onloop import bridge

__all__ = ["AsyncObjectMixin"]

_lists: Any = MultipleObjectMixin


class AsyncObjectMixin:
    """Gives a class-based view `aget_object`, `aget_list` and `aget_page`.

    The hooks (`get_queryset`, `get_object`, ...) are synchronous, as in Django. They run in a
    bridge, so they may query the database.
    """

    request: HttpRequest
    kwargs: dict[str, Any]

    # As in Django's SingleObjectMixin and MultipleObjectMixin.
    model: type[Model] | None = None
    queryset: QuerySet[Any] | None = None
    pk_url_kwarg = "pk"
    slug_field = "slug"
    slug_url_kwarg = "slug"
    query_pk_and_slug = False
    ordering: str | Sequence[Any] | None = None
    allow_empty = True
    paginate_by: int | None = None
    paginate_orphans = 0
    paginator_class: type[Paginator[Any]] = Paginator
    page_kwarg = "page"

    # Look-ups that hold for the view's own lists and pages.
    filters: Mapping[str, Any] = {}
    # What the query string may ask for: so many rows a page, and no more than that. None: the
    # query string is not asked.
    per_page_kwarg = "per_page"
    max_paginate_by: int | None = None

    get_object: Any = SingleObjectMixin.get_object
    get_slug_field: Any = SingleObjectMixin.get_slug_field
    get_queryset: Any = MultipleObjectMixin.get_queryset
    get_ordering: Any = MultipleObjectMixin.get_ordering
    get_paginator: Any = MultipleObjectMixin.get_paginator
    get_paginate_orphans: Any = MultipleObjectMixin.get_paginate_orphans
    get_allow_empty: Any = MultipleObjectMixin.get_allow_empty

    async def aget_object(self, queryset: QuerySet[Any] | None = None) -> Any:
        """Return the object that the address names by `pk` or `slug`.

        Raises `Http404` where there is none.
        """
        return await bridge.run(self.get_object, queryset)

    async def aget_list(
        self, queryset: QuerySet[Any] | None = None, /, **filters: Any
    ) -> list[Any]:
        """Return all objects of the view, or of `queryset`, that match `filters`."""
        return await bridge.run(lambda: list(self._rows(queryset, filters)))

    async def aget_page(
        self, queryset: QuerySet[Any] | None = None, /, **filters: Any
    ) -> Page[Any]:
        """Return the page that the request asks for, of the view's objects or `queryset`'s.

        It is Django's `Page` with its objects loaded: two queries, and none afterwards. An
        order that leaves ties is completed by the primary key. Raises `Http404` for a page that
        does not exist, and for a number of rows that is none.
        """
        return await bridge.run(self._page, queryset, filters)

    def get_paginate_by(self, queryset: QuerySet[Any]) -> int | None:
        """Return how many rows a page has; None where nothing says so."""
        wanted = self.request.GET.get(self.per_page_kwarg)
        if not wanted or self.max_paginate_by is None:
            return self.paginate_by
        orphans = self.get_paginate_orphans()
        try:
            size = int(wanted)
        except ValueError:
            size = 0
        if size <= orphans:  # a page must be larger than what the last one may take along
            raise Http404(f"{self.per_page_kwarg} is not a number greater than {orphans}.")
        return min(size, self.max_paginate_by)

    def paginate_queryset(
        self, queryset: QuerySet[Any], page_size: int
    ) -> tuple[Paginator[Any], Page[Any], QuerySet[Any], bool]:
        """Return paginator, page, its rows, and whether there are others, as in Django."""
        if self.kwargs.get(self.page_kwarg) == 0:  # Django takes it for "none was named"
            raise Http404(f"{self.page_kwarg} is less than 1.")
        return _lists.paginate_queryset(  # type: ignore[no-any-return]
            self, queryset, page_size
        )

    def _rows(self, queryset: QuerySet[Any] | None, filters: dict[str, Any]) -> QuerySet[Any]:
        if queryset is None:
            queryset = self.get_queryset()
            filters = {**self.filters, **filters}
        if not isinstance(queryset, QuerySet):
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs a QuerySet, and this is a "
                f"{type(queryset).__name__}. Write `queryset = Book.objects.all()`, or return "
                "one from get_queryset(), which is no `async def`."
            )
        return queryset.filter(**filters) if filters else queryset

    def _page(self, queryset: QuerySet[Any] | None, filters: dict[str, Any]) -> Page[Any]:
        rows = with_total_order(self._rows(queryset, filters))
        size = self.get_paginate_by(rows)
        if not size:
            name = type(self).__name__
            raise ImproperlyConfigured(
                f"{name} does not say how many rows a page has. Define {name}.paginate_by, or "
                f"override {name}.get_paginate_by()."
            )
        page: Page[Any] = self.paginate_queryset(rows, size)[1]
        page.object_list = list(page.object_list)
        return page


def with_total_order(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Return `queryset` with the primary key as the last key of an order that leaves ties.

    What ties in an order may come differently in each query, so a row may be on two pages, or
    on none. Left as they are: slices, orders by `extra()`, and rows of `values()` that are
    grouped, distinct or of a union, where another key would make other rows.
    """
    query = queryset.query
    meta: Any = query.get_meta()
    partial = queryset._fields is not None  # type: ignore[attr-defined]
    if partial and (query.distinct or query.group_by is not None or query.combinator):
        return queryset
    if query.is_sliced or query.extra_order_by:
        return queryset
    order = query.order_by or (meta.ordering if queryset.ordered else ())
    if any(_is_unique(meta, key) for key in order):
        return queryset
    return queryset.order_by(*order, "pk")


def _is_unique(meta: Any, key: Any) -> bool:
    if not isinstance(key, str):
        return False
    name = key.lstrip("-")
    if name == "pk":
        return True
    try:
        field = meta.get_field(name)
    except FieldDoesNotExist:
        return False
    # A relation is ordered by what its model is ordered by.
    return not field.is_relation and field.unique and not field.null
