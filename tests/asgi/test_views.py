"""Views with `AsyncObjectMixin`, in requests; those of `docs/views.md` among them."""

from __future__ import annotations

import datetime
import re
import types
from urllib.parse import urlencode

import pytest
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.db import connection
from django.http import JsonResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.views import View
from django.views.generic import DetailView
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import onloop
from onloop import bridge
from onloop.views import AsyncObjectMixin
from tests.asgi.client import Exchange
from tests.postgres import ROOT
from tests.project.library.models import Author, Book

PUBLISHED = datetime.date(2001, 1, 1)
BOOKS = 7
LARGEST = 5
FAR = 10**9


async def afetch(url):
    return f"{onloop.where()}: {url}"


def _page_of_documentation():
    """The names that the examples of `docs/views.md` define."""
    text = (ROOT / "docs" / "views.md").read_text()
    page = types.SimpleNamespace(Author=Author, Book=Book, onloop=onloop, afetch=afetch)
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        empty = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(empty + block[1], "docs/views.md", "exec"), vars(page))
    return page


documented = _page_of_documentation()


# --- views ------------------------------------------------------------------------------------


class Pages(AsyncObjectMixin, View):
    """Every book costs the same: without a tie-breaker the pages could overlap."""

    model = Book
    ordering = "price"
    paginate_by = 3
    max_paginate_by = LARGEST

    async def get(self, request, **kwargs):
        with CaptureQueriesContext(connection) as captured:
            page = await self.aget_page()
        # What the page tells from here on, it tells without a query.
        return JsonResponse(
            {
                "titles": [book.title for book in page.object_list],
                "loaded": isinstance(page.object_list, list),
                "around": [page.has_previous(), page.has_next()],
                "page": page.number,
                "pages": page.paginator.num_pages,
                "per_page": page.paginator.per_page,
                "total": page.paginator.count,
                "queries": len(captured),
                "order": captured[-1]["sql"].partition("ORDER BY ")[2].partition(" LIMIT")[0],
            }
        )


class FixedPages(Pages):
    max_paginate_by = None


class NoEmptyPages(Pages):
    allow_empty = False


class Lists(AsyncObjectMixin, View):
    model = Book
    ordering = ("-title",)
    filters = {"title__lte": "Book 5"}

    async def get(self, request):
        wanted = {"title__gte": request.GET.get("from", "Book 0")}
        return JsonResponse(
            {
                "own": [book.title for book in await self.aget_list(**wanted)],
                "passed": [b.title for b in await self.aget_list(Book.objects.all(), **wanted)],
            }
        )


class Detail(AsyncObjectMixin, View):
    model = Book
    slug_field = "title"
    query_pk_and_slug = True

    async def get(self, request, **kwargs):
        return JsonResponse({"title": (await self.aget_object()).title})


class DearDetail(AsyncObjectMixin, DetailView):
    """Its hook asks the database, and Django's own view lends the context."""

    slug_field = slug_url_kwarg = "title"

    def get_queryset(self):
        dearest = Book.objects.order_by("-price").first()
        return Book.objects.filter(price=dearest.price)

    async def get(self, request, **kwargs):
        self.object = await self.aget_object()
        return JsonResponse({"title": self.get_context_data()["book"].title})


def fetch(request):
    return JsonResponse({"fetched": documented.fetch("/x/")})


async def fetch_from_async(request):
    return fetch(request)


urlpatterns = [
    path("pages/", Pages.as_view()),
    path("pages/<int:page>/", Pages.as_view()),
    path("fixed/", FixedPages.as_view()),
    path("no-empty/", NoEmptyPages.as_view()),
    path("lists/", Lists.as_view()),
    path("detail/", Detail.as_view()),
    path("detail/<int:pk>/", Detail.as_view()),
    path("detail/<str:slug>/", Detail.as_view()),
    path("detail/<int:pk>/<str:slug>/", Detail.as_view()),
    path("dear/<str:title>/", DearDetail.as_view()),
    path("books/", documented.BookList.as_view()),
    path("books/<int:pk>/", documented.BookDetail.as_view()),
    path("authors/<str:name>/", documented.AuthorDetail.as_view()),
    path("fetch/", fetch),
    path("fetch-from-async/", fetch_from_async),
]


def make_books():
    author = Author.objects.create(name="A. Loop")
    Book.objects.bulk_create(
        Book(pk=n + 1, title=f"Book {n}", author=author, published=PUBLISHED, price=9)
        for n in range(BOOKS)
    )


@pytest.fixture
async def shelf(project):
    """The project with seven books, `Book 0` to `Book 6`, whose keys are 1 to 7."""
    await bridge.run(make_books)
    return project


def titles(*numbers):
    return [f"Book {number}" for number in numbers]


# --- objects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["1", "Book 0", "1/Book 0"])
async def test_an_object_is_found_by_key_by_slug_and_by_both(shelf, address):
    assert (await shelf.get(f"/detail/{address}/")).json() == {"title": "Book 0"}


@pytest.mark.parametrize("address", ["8", str(10**30), "Book 9", "1/Book 1"])
async def test_an_object_that_is_not_there_is_a_404(shelf, address):
    assert (await shelf.get(f"/detail/{address}/")).status == 404


async def test_hooks_may_query_and_djangos_views_lend_their_context(shelf):
    await Book.objects.filter(title="Book 3").aupdate(price=10)
    assert (await shelf.get("/dear/Book 3/")).json() == {"title": "Book 3"}
    assert (await shelf.get("/dear/Book 2/")).status == 404


# --- lists ------------------------------------------------------------------------------------


async def test_a_list_is_ordered_and_filtered_by_attributes_and_by_keywords(shelf):
    answer = (await shelf.get("/lists/", query="from=Book+3")).json()
    assert answer["own"] == titles(5, 4, 3)


async def test_order_and_filters_of_the_view_are_not_those_of_a_queryset_that_is_passed(shelf):
    answer = (await shelf.get("/lists/", query="from=Book+3")).json()
    assert answer["passed"] == titles(3, 4, 5, 6)


# --- pages ------------------------------------------------------------------------------------


async def test_a_page_has_its_rows_and_the_total_in_two_queries_and_no_thread(
    shelf, started_threads
):
    shelf.configure(ONLOOP={"SQLITE_INLINE_MS": 10_000})  # however busy the machine is
    answer = (await shelf.get("/pages/", query="page=2")).json()
    assert answer == {
        "titles": titles(3, 4, 5),
        "loaded": True,
        "around": [True, True],
        "page": 2,
        "pages": 3,
        "per_page": 3,
        "total": BOOKS,
        "queries": 2,
        "order": '"library_book"."price" ASC, "library_book"."id" ASC',
    }
    assert started_threads == []


async def test_an_empty_list_has_one_page_and_takes_one_query(project):
    answer = (await project.get("/pages/")).json()
    assert (answer["titles"], answer["page"], answer["pages"]) == ([], 1, 1)
    assert answer["queries"] == 1


async def test_an_empty_list_that_is_not_allowed_is_a_404(project):
    assert (await project.get("/no-empty/")).status == 404


@pytest.mark.parametrize(
    ("query", "page"), [("", 1), ("page=", 1), ("page=1", 1), ("page=3", 3), ("page=last", 3)]
)
async def test_the_query_string_names_the_page(shelf, query, page):
    assert (await shelf.get("/pages/", query=query)).json()["page"] == page


@pytest.mark.parametrize("page", [0, -1, "x", "1.5", 4, FAR, "9" * 5000, "\0", "\u0660", "%"])
async def test_a_page_that_does_not_exist_is_a_404(shelf, page):
    answer = await shelf.get("/pages/", query=urlencode({"page": page}))
    assert answer.status == 404


@pytest.mark.parametrize(
    ("page", "status"), [(0, 404), (1, 200), (3, 200), (4, 404), (FAR, 404)]
)
async def test_a_page_that_the_address_names_is_checked_alike(shelf, page, status):
    assert (await shelf.get(f"/pages/{page}/")).status == status


@pytest.mark.parametrize(
    ("query", "per_page"),
    [("", 3), ("per_page=", 3), ("per_page=1", 1), ("per_page=5", 5), ("per_page=6", LARGEST),
     (f"per_page={FAR}", LARGEST)],
)  # fmt: skip
async def test_the_query_string_names_the_size_up_to_the_largest(shelf, query, per_page):
    answer = (await shelf.get("/pages/", query=query)).json()
    assert answer["per_page"] == len(answer["titles"]) == per_page


@pytest.mark.parametrize("per_page", [0, -1, "x", "1.5", "9" * 5000, "\0"])
async def test_a_size_that_is_none_is_a_404(shelf, per_page):
    answer = await shelf.get("/pages/", query=urlencode({"per_page": per_page}))
    assert answer.status == 404


@pytest.mark.parametrize("per_page", ["1", "x", "0"])
async def test_without_a_largest_size_the_query_string_is_not_asked(shelf, per_page):
    answer = await shelf.get("/fixed/", query=urlencode({"per_page": per_page}))
    assert answer.json()["per_page"] == 3


def number(text):
    """What Python takes for a whole number, or None."""
    try:
        return int(text)
    except ValueError:
        return None


def expected(page, per_page):
    """The page and its size, or None for a 404."""
    size = number(per_page) if per_page else 3
    if size is None or size < 1:
        return None
    size = min(size, LARGEST)
    pages = -(-BOOKS // size)
    wanted = {"": 1, "last": pages}.get(page, number(page))
    return (wanted, size) if wanted is not None and 1 <= wanted <= pages else None


STRINGS = st.one_of(
    st.integers(-2, 9).map(str),
    st.integers().map(str),
    st.sampled_from(["", "last", " 2 ", "+1", "1_0", "1e1", "NaN", "\u0662", "0x1"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(page=STRINGS, per_page=STRINGS)
@example(page="last", per_page=str(FAR))
async def test_any_query_string_gives_its_page_or_a_404(shelf, page, per_page):
    answer = await shelf.get("/pages/", query=urlencode({"page": page, "per_page": per_page}))
    wanted = expected(page, per_page)
    assert answer.status == (404 if wanted is None else 200)
    if wanted is not None:
        told = answer.json()
        first = (told["page"] - 1) * told["per_page"]
        assert (told["page"], told["per_page"]) == wanted
        assert told["titles"] == titles(*range(BOOKS))[first : first + told["per_page"]]


@pytest.mark.parametrize("per_page", range(1, LARGEST + 1))
async def test_each_row_is_on_one_page_though_all_tie(shelf, per_page):
    found = []
    pages = -(-BOOKS // per_page)
    for page in range(1, pages + 1):
        # PostgreSQL puts a row that is written anew elsewhere, and would return it later.
        await Book.objects.filter(title=f"Book {page}").aupdate(published=PUBLISHED)
        answer = await shelf.get("/pages/", query=f"page={page}&per_page={per_page}")
        found += answer.json()["titles"]
    assert found == titles(*range(BOOKS))


async def test_outside_a_bridge_each_method_brings_its_own(shelf):
    """Under Django's own handler, without middleware, a view is a bare task."""
    shelf.configure(MIDDLEWARE=[])
    application = djangos_asgi_application()
    assert (await Exchange(application, "/detail/1/")).json() == {"title": "Book 0"}
    assert (await Exchange(application, "/lists/")).json()["own"] == titles(5, 4, 3, 2, 1, 0)
    assert (await Exchange(application, "/books/")).json()["total"] == BOOKS


def test_pages_work_under_wsgi_as_well(bare_project, db_clean):
    make_books()
    answer = Client().get("/pages/?page=3").json()
    assert (answer["titles"], answer["queries"]) == (titles(6), 2)


# --- the documentation ------------------------------------------------------------------------


async def test_the_documented_object_is_found(shelf):
    answer = await shelf.get("/books/1/")
    assert answer.json() == {"title": "Book 0", "author": "A. Loop"}


async def test_the_documented_list_has_pages(shelf):
    answer = (await shelf.get("/books/", query="per_page=2&page=4")).json()
    assert answer == {
        "total": 7,
        "pages": 4,
        "page": 4,
        "books": [{"title": "Book 6", "author": "A. Loop"}],
    }


async def test_the_documented_template_view_renders_object_and_page(shelf):
    template = "{{ author }}: {% for book in page_obj %}{{ book.title }},{% endfor %}"
    loaders = [("django.template.loaders.locmem.Loader", {"author.html": template})]
    engine = "django.template.backends.django.DjangoTemplates"
    shelf.configure(TEMPLATES=[{"BACKEND": engine, "OPTIONS": {"loaders": loaders}}])
    await Book.objects.filter(title__gte="Book 2").aupdate(price=0)
    assert (await shelf.get("/authors/A. Loop/")).text == "A. Loop: Book 0,Book 1,"
    assert (await shelf.get("/authors/nobody/")).status == 404


async def test_the_documented_function_fetches_from_everywhere_but_a_bare_task(project):
    for place in ("loop", "thread"):
        project.configure(ONLOOP={"SYNC_VIEWS": place})
        assert (await project.get("/fetch/")).json() == {"fetched": "bridge: /x/"}
    assert (await project.get("/fetch-from-async/")).json() == {"fetched": "bridge: /x/"}
    with pytest.raises(RuntimeError, match="Use `await afetch"):
        documented.fetch("/x/")
