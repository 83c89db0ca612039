"""Without a running loop the wrappers behave as Django's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, transaction
from django.test import Client

from onloop import bridge
from tests.project.library.models import Author, Book

from .helpers import backend_pid, make_books, names

pytestmark = pytest.mark.usefixtures("db_clean")


def test_queries_work_and_keep_the_connection() -> None:
    make_books(count=3)
    first = connection.connection
    assert [book.author.name for book in Book.objects.all()] == ["Ann"] * 3
    assert first is not None
    assert connection.connection is first


def test_a_block_commits_and_rolls_back() -> None:
    with transaction.atomic():
        Author.objects.create(name="stays")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="goes")
        raise ZeroDivisionError
    assert names() == ["stays"]


def test_savepoints_roll_back_alone() -> None:
    with transaction.atomic():
        Author.objects.create(name="outer")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Author.objects.create(name="inner")
            raise ZeroDivisionError
    assert names() == ["outer"]


def test_the_decorator_works_on_sync_functions() -> None:
    @transaction.atomic
    def work() -> bool:
        return connection.in_atomic_block

    assert work()
    assert not connection.in_atomic_block


def test_callbacks_run_after_the_commit_sync_and_async_alike() -> None:
    seen: list[Any] = []

    async def later() -> None:
        seen.append("async")

    with transaction.atomic():
        transaction.on_commit(lambda: seen.append(connection.in_atomic_block))
        transaction.on_commit(later)
        assert seen == []
    assert seen == [False, "async"]


def test_each_thread_has_a_connection_of_its_own() -> None:
    mine = connection.connection
    theirs: list[Any] = []

    def work() -> None:
        names()
        theirs.append(connection.connection)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in (mine, *theirs)}) == 4


def test_a_wrapper_of_another_thread_is_refused() -> None:
    mine = connections["default"]
    errors: list[Exception] = []

    def work() -> None:
        try:
            mine.cursor()
        except DatabaseError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "can only be used in that same thread" in str(errors[0])


def test_a_management_command_works(capsys: pytest.CaptureFixture[str]) -> None:
    make_books(count=2)
    call_command("dumpdata", "library.book")
    assert capsys.readouterr().out.count("library.book") == 2


def test_a_request_through_wsgi_works() -> None:
    make_books(count=2)
    answer = Client().get("/books-sync/")
    assert [book["title"] for book in answer.json()["books"]] == ["Ann 0", "Ann 1"]


def test_an_async_view_under_wsgi_works() -> None:
    make_books(count=2)
    answer = Client().get("/books/")
    assert len(answer.json()["books"]) == 2


def test_constraints_and_introspection_work() -> None:
    tables = connection.introspection.table_names()
    assert "library_book" in tables
    with connection.schema_editor() as editor:
        assert editor.connection is connections["default"]


@pytest.mark.only_on("postgresql")
class TestDjangosOwnPool:
    """`OPTIONS["pool"]` in plain sync code is psycopg_pool, as Django has it."""

    def test_plain_threads_borrow_from_it(self, extra_alias: Callable[..., str]) -> None:
        from psycopg_pool import ConnectionPool

        alias = extra_alias("pooled", OPTIONS={"pool": {"min_size": 0, "max_size": 2}})
        wrapper = connections[alias]
        first = backend_pid(alias)
        assert isinstance(wrapper.pool, ConnectionPool)
        wrapper.close()
        assert backend_pid(alias) == first
        wrapper.close()
        assert wrapper.pool.get_stats()["pool_available"] == 1

    def test_a_task_uses_the_loops_pool_instead(self, extra_alias: Callable[..., str]) -> None:
        alias = extra_alias("pooled", OPTIONS={"pool": {"min_size": 0, "max_size": 2}})

        async def work() -> Any:
            await bridge.run(backend_pid, alias)
            return connections[alias].pool, connections[alias].pool_stats()["pool_size"]

        assert asyncio.run(work()) == (None, 1)

    def test_true_means_the_defaults(self, extra_alias: Callable[..., str]) -> None:
        alias = extra_alias("pooled", OPTIONS={"pool": True})
        assert backend_pid(alias) > 0
        connections[alias].close()

    def test_the_mode_of_the_loops_pool_is_no_option_of_it(
        self, extra_alias: Callable[..., str]
    ) -> None:
        alias = extra_alias("pooled", OPTIONS={"pool": {"mode": "session", "min_size": 1}})
        assert backend_pid(alias) > 0
        connections[alias].close()

    @pytest.mark.parametrize(
        "options", [{"min_size": 0}, {"min_size": 0, "max_size": None}, {"max_size": 1}]
    )
    def test_sizes_that_the_loops_pool_takes_are_taken(
        self, extra_alias: Callable[..., str], options: dict[str, Any]
    ) -> None:
        alias = extra_alias("pooled", OPTIONS={"pool": options})
        assert backend_pid(alias) > 0
        connections[alias].close()

    def test_a_check_of_the_settings_is_called(self, extra_alias: Callable[..., str]) -> None:
        checked: list[int] = []

        def check(connection: Any) -> None:
            connection.execute("")
            checked.append(connection.info.backend_pid)

        pool = {"min_size": 0, "max_size": 1, "check": check}
        alias = extra_alias("pooled", OPTIONS={"pool": pool})
        pid = backend_pid(alias)
        connections[alias].close()
        assert backend_pid(alias) == pid
        connections[alias].close()
        assert set(checked) == {pid}

    def test_a_joined_task_works_on_a_connection_of_it(
        self, extra_alias: Callable[..., str]
    ) -> None:
        alias = extra_alias("pooled", OPTIONS={"pool": {"min_size": 0, "max_size": 2}})

        async def joined() -> int:
            return await bridge.run(backend_pid, alias)

        with transaction.atomic(using=alias):
            assert asyncio.run(joined()) == backend_pid(alias)
        connections[alias].close()

    def test_an_ad_hoc_copy_on_the_loop_does_not_block_on_it(
        self, extra_alias: Callable[..., str], threads_started: list[str]
    ) -> None:
        alias = extra_alias("pooled", OPTIONS={"pool": {"min_size": 0, "max_size": 2}})

        def copied() -> int:
            copy = connections[alias].copy()
            try:
                with copy.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    return cursor.fetchone()[0]
            finally:
                copy.close()

        async def work() -> None:
            assert await bridge.run(copied) > 0

        asyncio.run(work())
        assert threads_started == []
