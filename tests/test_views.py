"""The order of pages and the views' own mistakes; `asgi/test_views.py` has the requests."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Count, F
from django.db.models.functions import Lower
from django.http import Http404
from django.test import RequestFactory
from django.views import View
from django.views.generic import DetailView, ListView

from onloop.views import AsyncObjectMixin, with_total_order
from tests.project.library.models import Author, Book, Novel, Review


def order(queryset):
    return with_total_order(queryset).query.order_by


# --- the order --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queryset", "expected"),
    [
        (Author.objects.all(), ("pk",)),
        (Author.objects.order_by("-books__price"), ("-books__price", "pk")),
        (Book.objects.order_by("title"), ("title", "pk")),
        (Book.objects.order_by("title", "-published"), ("title", "-published", "pk")),
        (Book.objects.order_by("author"), ("author", "pk")),
        (Book.objects.order_by("author_id"), ("author_id", "pk")),
        (Book.objects.order_by(), ("pk",)),
        (Novel.objects.order_by("book_ptr"), ("book_ptr", "pk")),
        (Book.objects.alias(n=Count("tags")).order_by("n"), ("n", "pk")),
        (Book.objects.values("title").order_by("title"), ("title", "pk")),
        # Django ignores Meta.ordering in a query that groups.
        (Book.objects.annotate(n=Count("tags")), ("pk",)),
    ],
)
def test_an_order_that_leaves_ties_ends_in_the_primary_key(queryset, expected):
    assert order(queryset) == expected


def test_an_order_by_expressions_ends_in_the_primary_key():
    lower, descending = Lower("title"), F("price").desc()
    assert order(Book.objects.order_by(lower, descending)) == (lower, descending, "pk")


@pytest.mark.parametrize(
    "queryset",
    [
        Book.objects.all(),  # Meta.ordering is the primary key
        Book.objects.order_by("-pk"),
        Book.objects.order_by("title", "-id"),
        Author.objects.order_by("name"),  # unique
        Author.objects.order_by("-name"),
    ],
)
def test_an_order_with_a_unique_key_is_left_alone(queryset):
    assert with_total_order(queryset) is queryset


@pytest.mark.parametrize(
    "queryset",
    [
        Book.objects.order_by("title")[:10],
        Book.objects.extra(order_by=["title"]),
        Book.objects.values("title").distinct(),
        Book.objects.values("author").annotate(n=Count("pk")).order_by("n"),
        Book.objects.values("title").union(Review.objects.values("text")),
    ],
    ids=["slice", "extra", "distinct", "grouped", "union"],
)
def test_rows_that_another_key_would_change_are_left_alone(queryset):
    assert with_total_order(queryset) is queryset


def test_an_order_that_is_reversed_stays_reversed():
    query = with_total_order(Book.objects.order_by("title").reverse()).query
    assert str(query).endswith('"title" DESC, "library_book"."id" DESC')


@pytest.mark.parametrize(
    "queryset",
    [
        Author.objects.union(Author.objects.filter(name="A")),
        Book.objects.distinct().order_by("title"),
        Book.objects.annotate(n=Count("tags")).order_by("n"),
        Book.objects.none(),
        Novel.objects.order_by("genre"),
        Book.objects.dates("published", "year"),
    ],
    ids=["union", "distinct", "grouped", "none", "inherited", "dates"],
)
def test_the_database_takes_the_order(db_clean, queryset):
    assert list(with_total_order(queryset)) == []


# --- mistakes ---------------------------------------------------------------------------------


def view_of(mixed_with=View, query="", url_kwargs=None, **attributes):
    cls = type("Books", (AsyncObjectMixin, mixed_with), attributes)
    view = cls()
    view.setup(RequestFactory().get(f"/?{query}"), **(url_kwargs or {}))
    return view


async def test_a_view_without_model_says_what_to_define():
    with pytest.raises(ImproperlyConfigured, match=r"Books is missing a QuerySet\. Define"):
        await view_of().aget_list()


async def test_a_view_of_an_object_without_key_says_so():
    with pytest.raises(AttributeError, match="must be called with either an object pk or a"):
        await view_of(model=Book).aget_object()


async def test_a_page_without_size_says_what_to_define():
    with pytest.raises(ImproperlyConfigured, match=r"Define Books\.paginate_by, or override"):
        await view_of(model=Book).aget_page()


@pytest.mark.parametrize(
    ("queryset", "name"), [(Book.objects, "Manager"), ([1, 2], "list")], ids=["manager", "list"]
)
async def test_what_is_no_queryset_is_named_with_the_cure(queryset, name):
    view = view_of(queryset=queryset)
    if name == "list":
        with pytest.raises(ImproperlyConfigured, match=f"Books needs .* a {name}"):
            await view.aget_list()
    with pytest.raises(ImproperlyConfigured, match=f"Books needs .* a {name}"):
        await view.aget_list(queryset)


@pytest.mark.parametrize("orphans", [0, 3])
def test_a_page_is_larger_than_its_orphans(orphans):
    hooks = {"paginate_orphans": orphans, "paginate_by": 20, "max_paginate_by": 50}
    assert (
        view_of(query=f"per_page={orphans + 1}", **hooks).get_paginate_by(None) == orphans + 1
    )
    with pytest.raises(Http404, match=f"per_page is not a number greater than {orphans}"):
        view_of(query=f"per_page={orphans}", **hooks).get_paginate_by(None)


# --- Django's own views beside it -------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url_kwargs"), [(DetailView, {"pk": 1}), (ListView, {})], ids=["detail", "list"]
)
def test_djangos_synchronous_views_go_on_working_under_the_mixin(db_clean, base, url_kwargs):
    author = Author.objects.create(name="A. Loop")
    Book.objects.create(pk=1, title="One", author=author, published="2001-01-01")
    view = view_of(base, model=Book, paginate_by=20, url_kwargs=url_kwargs)
    context = view.get(view.request).context_data
    assert str(context.get("object") or context["object_list"][0]) == "One"
