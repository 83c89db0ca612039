"""Third-party code as it is: the admin and Django REST framework, wherever it runs."""

from __future__ import annotations

import re

import httpx
import pytest
from django.contrib.auth.models import User

from tests.conftest import HTTP_TIMEOUT_S
from tests.project.library.models import Author, Book
from tests.servers import Serving

PASSWORD = "not a secret"
ON_LOOP = Serving(
    env=(("ONLOOP_TEST_ONLOOP", '{"ON_LOOP": ["django.contrib.admin", "rest_framework"]}'),)
)

pytestmark = pytest.mark.parametrize(
    "asgi_server", ["asyncio", ON_LOOP], ids=["in a thread", "on the loop"], indirect=True
)


@pytest.fixture
def librarian(http):
    """A client that has signed in to the admin, by its own form."""
    User.objects.create_superuser("librarian", password=PASSWORD)
    page = http.get("/admin/login/?next=/admin/")
    data = {"username": "librarian", "password": PASSWORD, "next": "/admin/"}
    answer = http.post("/admin/login/", data={**data, **token_of(page)})
    assert answer.headers["location"] == "/admin/"
    return http


@pytest.fixture
def author(http):
    return Author.objects.create(name="A. Loop")


def token_of(page: httpx.Response) -> dict[str, str]:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None
    return {"csrfmiddlewaretoken": found[1]}


def test_the_admin_refuses_a_wrong_password(http):
    page = http.get("/admin/login/")
    data = {"username": "librarian", "password": "wrong", **token_of(page)}
    answer = http.post("/admin/login/", data=data)
    assert "Please enter the correct username and password" in answer.text


def test_the_admin_refuses_a_form_without_its_token(http):
    data = {"username": "librarian", "password": PASSWORD}
    assert http.post("/admin/login/", data=data).status_code == 403


def test_the_admin_shows_its_index(librarian):
    page = librarian.get("/admin/")
    assert "Welcome," in page.text
    assert "Books" in page.text


def test_the_change_list_shows_rows_and_searches(librarian, author):
    for title in ("One", "Two"):
        Book.objects.create(title=title, author=author, published="2001-01-01")
    page = librarian.get("/admin/library/book/", params={"q": "Two"})
    assert (">Two<" in page.text, ">One<" in page.text) == (True, False)


def test_the_add_form_creates_a_row(librarian, author):
    page = librarian.get("/admin/library/book/add/")
    data = {"author": author.pk, "title": "Three", "published": "2001-01-01", "price": "9.50"}
    answer = librarian.post("/admin/library/book/add/", data={**data, **token_of(page)})
    assert answer.headers["location"] == "/admin/library/book/"
    assert Book.objects.get().title == "Three"
    assert "was added successfully" in librarian.get("/admin/library/book/").text


def test_the_add_form_says_what_is_wrong(librarian, author):
    page = librarian.get("/admin/library/book/add/")
    answer = librarian.post("/admin/library/book/add/", data={"title": "", **token_of(page)})
    assert "This field is required" in answer.text
    assert not Book.objects.exists()


def test_the_delete_page_deletes_a_row_and_what_hangs_on_it(librarian, author):
    Book.objects.create(title="One", author=author, published="2001-01-01")
    path = f"/admin/library/author/{author.pk}/delete/"
    page = librarian.get(path)
    librarian.post(path, data={"post": "yes", **token_of(page)})
    assert not Book.objects.exists()


def test_rest_framework_lists_with_lazy_relations(http, author):
    Book.objects.create(title="One", author=author, published="2001-01-01")
    (book,) = http.get("/api/books/").json()
    assert (book["title"], book["author_name"]) == ("One", "A. Loop")


def test_rest_framework_creates_with_session_and_token(librarian, author):
    librarian.get("/admin/")
    book = {"title": "Four", "author": author.pk, "published": "2001-01-01"}
    token = {"X-CSRFToken": librarian.cookies["csrftoken"]}
    answer = librarian.post("/api/books/", json=book, headers=token)
    assert answer.status_code == 201
    assert Book.objects.get().title == "Four"


def test_rest_framework_refuses_a_session_without_its_token(librarian, author):
    book = {"title": "Four", "author": author.pk, "published": "2001-01-01"}
    answer = librarian.post("/api/books/", json=book)
    assert answer.status_code == 403
    assert not Book.objects.exists()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"author": 9999}'])
def test_rest_framework_answers_bad_input_with_400(http, body):
    answer = http.post(
        "/api/books/", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400


def test_rest_framework_answers_an_unknown_id_with_404(http):
    assert http.get("/api/books/1/").status_code == 404


async def test_many_clients_create_at_once(asgi_server, author):
    import asyncio

    async with httpx.AsyncClient(base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S) as client:
        answers = await asyncio.gather(*(
            client.post(
                "/api/books/",
                json={"title": f"Book {n}", "author": author.pk, "published": "2001-01-01"},
            )
            for n in range(30)
        ))  # fmt: skip
    assert {answer.status_code for answer in answers} == {201}
    assert await Book.objects.acount() == 30
