"""The real servers of the suite: they work, tests do not meet in them, and nothing stays."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tests import servers
from tests.database import LeftBehind
from tests.postgres import ROOT, PostgresServer, ServerFailed
from tests.project.library.models import Author, Book, Novel, Review, Tag
from tests.servers import Serving, start

# --- PostgreSQL -------------------------------------------------------------------------------


@pytest.mark.parametrize("tcp", [False, True], ids=["unix-socket", "tcp"])
def test_postgresql_answers_on_both_kinds_of_socket(postgres, tcp):
    with psycopg.connect(**postgres.place.parameters(tcp=tcp)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (connection.info.host == "127.0.0.1") is tcp


def test_postgresql_is_set_up_for_many_connections_and_no_disk(postgres):
    with psycopg.connect(**postgres.place.parameters()) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("300",)
        assert connection.execute("SHOW fsync").fetchone() == ("off",)


@pytest.mark.only_on("postgresql")
def test_a_stopped_postgresql_leaves_neither_process_nor_folder():
    server = PostgresServer()
    server.start()
    assert server.pid is not None
    process = psutil.Process(server.pid)
    server.stop()
    process.wait(90)
    assert not server.folder.exists()


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_postgresql_goes_when_the_run_that_started_it_is_ended_by(number):
    code = """
        import signal
        from tests.postgres import PostgresServer
        server = PostgresServer()
        server.start()
        print(server._keeper.pid, server.pid, server.folder, flush=True)
        signal.pause()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        keeper_pid, server_pid, folder = run.stdout.readline().split()
        processes = [psutil.Process(int(keeper_pid)), psutil.Process(int(server_pid))]
        # A terminal sends Ctrl-C to the whole group.
        os.killpg(run.pid, number)
    gone, alive = psutil.wait_procs(processes, timeout=90)
    assert (len(gone), alive) == (2, [])
    assert not Path(folder).exists()


@pytest.mark.only_on("postgresql")
def test_a_postgresql_that_cannot_start_says_why(postgres):
    server = PostgresServer()
    server.place = postgres.place  # whose port is taken
    with pytest.raises(ServerFailed, match="Address already in use"):
        server.start()
    assert not server.folder.exists()


# --- clean databases --------------------------------------------------------------------------


def fill(alias: str = "default") -> Novel:
    author = Author.objects.using(alias).create(name="N. Known")
    day = datetime.date(2001, 2, 3)
    novel = Novel.objects.using(alias).create(
        author=author, title="The Second", published=day, price="12.50", genre="sea"
    )
    novel.tags.add(Tag.objects.using(alias).create(name="long"))
    Review.objects.using(alias).create(book=novel, stars=4)
    return novel


@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.parametrize("alias", ["default", "other"])
def test_each_test_finds_empty_tables_and_ids_from_one(db_clean, alias, turn):
    assert not Book.objects.using(alias).exists()
    assert fill(alias).pk == 1
    assert Author.objects.using(alias).get().pk == 1


def test_a_schema_keeps_the_rows_that_belong_to_it(db_clean):
    from django.contrib.auth.models import Permission

    db_clean.clean()
    assert Permission.objects.filter(codename="add_book").exists()


@pytest.mark.only_on("postgresql")
def test_a_transaction_left_open_is_reported_and_ended(db_clean, monkeypatch):
    monkeypatch.setattr("tests.database.LOCK_TIMEOUT_S", 0.5)
    with db_clean.connect(application_name="culprit") as culprit:
        culprit.autocommit = False
        culprit.execute("SELECT count(*) FROM library_book")
        with pytest.raises(LeftBehind, match=r"culprit.*idle in transaction.*library_book"):
            db_clean.clean()
        with pytest.raises(psycopg.OperationalError):
            culprit.execute("SELECT 1")


@pytest.mark.only_on("postgresql")
def test_tables_are_emptied_after_all_back_ends_were_killed(db_clean):
    db_clean.clean()
    fill()
    with db_clean.connect() as outsider:
        outsider.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        db_clean.clean()
        assert outsider.execute("SELECT count(*) FROM library_book").fetchone() == (0,)


@pytest.mark.only_on("sqlite")
def test_a_write_left_open_in_sqlite_is_reported(db_clean, monkeypatch):
    monkeypatch.setattr("tests.database.LOCK_TIMEOUT_S", 0.05)
    with db_clean.file() as culprit:
        culprit.execute("BEGIN IMMEDIATE")
        with pytest.raises(LeftBehind, match="locked"):
            db_clean.clean()
        culprit.execute("ROLLBACK")


def test_what_a_test_commits_other_connections_see(db_clean):
    fill()
    statement = "SELECT title FROM library_book"
    if db_clean.kind == "sqlite":
        with db_clean.file() as connection:
            assert isinstance(connection, sqlite3.Connection)
            assert connection.execute(statement).fetchall() == [("The Second",)]
    else:
        with db_clean.connect() as connection:
            assert connection.execute(statement).fetchall() == [("The Second",)]


def test_pg_activity_sees_who_does_what(db_clean, pg_activity):
    with db_clean.connect(application_name="sleeper") as sleeper:
        sleeper.autocommit = False
        sleeper.execute("SELECT 'a thought'")
        (seen,) = pg_activity("a thought", state="idle in transaction")
        assert (seen.pid, seen.application_name) == (sleeper.info.backend_pid, "sleeper")
        assert pg_activity("a thought", application_name="onloop-tests") == []


# --- ASGI servers -----------------------------------------------------------------------------


@pytest.mark.parametrize("asgi_server", ["asyncio", "uvloop"], indirect=True)
def test_the_project_is_served_on(asgi_server, http):
    assert http.get("/ping/").json() == {"ping": "pong"}
    assert asgi_server.serving.loop in {"asyncio", "uvloop"}


@pytest.mark.parametrize(
    "asgi_server",
    [Serving("daphne"), Serving("hypercorn"), Serving("granian")],
    ids=lambda serving: serving.server,
    indirect=True,
)
def test_the_project_is_served_by(http):
    assert http.get("/ping/").json() == {"ping": "pong"}


@pytest.mark.parametrize("path", ["/books/", "/books-sync/"])
def test_a_server_sees_what_the_test_has_committed(http, path):
    assert http.get(path).json() == {"books": []}
    fill()
    assert http.get(path).json() == {"books": [{"title": "The Second", "author": "N. Known"}]}


def test_a_test_sees_what_the_server_has_committed(http):
    author = Author.objects.create(name="N. Known")
    book = {"title": "The Third", "author": author.pk, "published": "2001-02-03"}
    assert http.post("/api/books/", json=book).status_code == 201
    assert Book.objects.get().title == "The Third"


async def test_an_async_test_has_many_requests_under_way(ahttp):
    responses = await asyncio.gather(*(ahttp.get("/ping/") for _ in range(20)))
    assert [response.status_code for response in responses] == [200] * 20


def test_the_admin_asks_for_a_login(http):
    response = http.get("/admin/")
    assert response.status_code == 302
    assert response.headers["location"] == "/admin/login/?next=/admin/"


def test_servers_that_nobody_asks_for_end_when_there_are_too_many(
    asgi_server, asgi_servers, monkeypatch
):
    monkeypatch.setattr(servers, "KEPT_SERVERS", 1)
    other = asgi_servers.get(Serving(env=(("ONLOOP_TEST_SERVER", "other"),)))
    assert asgi_server.process.poll() is not None
    assert other.process.poll() is None
    assert asgi_servers.get(other.serving) is other


def test_a_server_that_a_test_ends_is_replaced_for_the_next(asgi_server, asgi_servers):
    assert asgi_server.stop() is not None
    again = asgi_servers.get(asgi_server.serving)
    assert again.pid != asgi_server.pid
    assert httpx.get(f"{again.url}/ping/").status_code == 200


def test_a_server_stopped_as_by_ctrl_c_leaves_no_traceback(database, tmp_path):
    server = start(Serving(), tmp_path)
    assert httpx.get(f"{server.url}/ping/").status_code == 200
    assert server.stop() in {0, -signal.SIGINT, 128 + signal.SIGINT}
    assert "Traceback" not in server.log_text()


def test_a_server_that_cannot_start_says_why(database, tmp_path):
    with pytest.raises(ServerFailed, match=r"tests\.project\.missing"):
        start(Serving(application="tests.project.missing:application"), tmp_path)


def test_the_log_of_a_test_begins_with_the_test(asgi_server, http):
    http.get("/nowhere/")
    before = asgi_server.log_text()
    asgi_server.mark_log()
    assert before
    assert asgi_server.new_log() == ""


def test_the_run_shares_its_secret_key_with_its_servers():
    from django.conf import settings

    assert os.environ["ONLOOP_TEST_SECRET_KEY"] == settings.SECRET_KEY
