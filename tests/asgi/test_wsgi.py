"""The same settings elsewhere: WSGI, Django's own ASGI handler, commands and plain code.

A project moves over step by step; nothing of it may change before its turn.
"""

from __future__ import annotations

import io
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.test import AsyncClient, Client

from tests.asgi.client import Exchange, all_of
from tests.conftest import HTTP_TIMEOUT_S
from tests.project.library.models import Author, Book

BOOKS = {"books": [{"title": "One", "author": "A. Loop"}]}


@pytest.fixture
def book(db_clean):
    author = Author.objects.create(name="A. Loop")
    return Book.objects.create(title="One", author=author, published="2001-01-01")


# --- WSGI -------------------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def wsgi(book):
    """A client of the project on wsgiref's server, in a thread of this process."""
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with httpx.Client(base_url=url, timeout=HTTP_TIMEOUT_S) as client:
            yield client
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/books/", "/books-sync/"])
def test_wsgi_serves_async_and_sync_views(wsgi, path):
    assert wsgi.get(path).json() == BOOKS


@pytest.mark.parametrize("path", ["numbers", "numbers-sync"])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_wsgi_serves_streams(wsgi, path):
    assert wsgi.get(f"/desk/{path}/3/").text == "0;1;2;"


def test_wsgi_serves_rest_framework(wsgi):
    assert wsgi.get("/api/books/").json()[0]["author_name"] == "A. Loop"


def test_wsgi_answers_errors(wsgi):
    statuses = [wsgi.get(path).status_code for path in ("/nowhere/", "/desk/raises/")]
    assert statuses == [404, 500]


@pytest.mark.parametrize("path", ["/books/", "/books-sync/"])
def test_djangos_test_client_works(book, path):
    assert Client().get(path).json() == BOOKS


def test_djangos_test_client_signs_in(db_clean):
    client = Client()
    client.force_login(User.objects.create_superuser("librarian", password="x"))
    assert client.get("/admin/library/book/").status_code == 200


# --- Django's own ASGI handler ----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/books/", "/books-sync/", "/api/books/"])
async def test_djangos_asgi_application_serves_as_before(book, path):
    answer = await Exchange(djangos_asgi_application(), path)
    assert b"One" in answer.content


async def test_djangos_asgi_application_serves_many_at_once(book):
    application = djangos_asgi_application()
    paths = ["/books/", "/books-sync/"] * 10
    answers = await all_of(Exchange(application, path) for path in paths)
    assert [answer.json() for answer in answers] == [BOOKS] * 20


async def test_djangos_asgi_application_streams(book):
    answer = await Exchange(djangos_asgi_application(), "/desk/numbers/3/")
    assert answer.text == "0;1;2;"


@pytest.mark.parametrize("path", ["/books/", "/books-sync/"])
async def test_djangos_async_test_client_works(book, path):
    assert (await AsyncClient().get(path)).json() == BOOKS


# --- commands and plain code ------------------------------------------------------------------


def test_the_checks_find_nothing(database):
    call_command("check", "--fail-level", "WARNING")


def test_no_migration_is_missing(database):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_data_can_be_dumped_and_loaded(book):
    out = io.StringIO()
    call_command("dumpdata", "library", stdout=out)
    Author.objects.all().delete()
    import sys

    stdin, sys.stdin = sys.stdin, io.StringIO(out.getvalue())
    try:
        call_command("loaddata", "-", format="json", verbosity=0)
    finally:
        sys.stdin = stdin
    assert Book.objects.get().author.name == "A. Loop"


def test_the_shell_runs_queries(book, capsys):
    command = (
        "from tests.project.library.models import Book;"
        "print([book.author.name for book in Book.objects.all()])"
    )
    call_command("shell", command=command)
    assert capsys.readouterr().out.splitlines()[-1] == "['A. Loop']"


def test_plain_code_keeps_its_connection_between_statements(db_clean):
    Author.objects.count()
    before = connection.connection
    Author.objects.count()
    assert before is not None
    assert connection.connection is before


def test_plain_transactions_commit_and_roll_back(db_clean):
    with transaction.atomic():
        Author.objects.create(name="kept")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="gone")
        raise ZeroDivisionError
    assert [author.name for author in Author.objects.all()] == ["kept"]


def test_plain_threads_have_connections_of_their_own(db_clean):
    seen = []

    def ask():
        Author.objects.count()
        seen.append(connection.connection)
        connection.close()

    Author.objects.count()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen[0] is not connection.connection
