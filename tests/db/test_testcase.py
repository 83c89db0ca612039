"""`django.test.TestCase`: its transaction is seen by all that it drives, and rolled back."""

from __future__ import annotations

import asyncio
import io
import unittest
from typing import Any

import asgiref.sync
import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner

import onloop
from tests.project.library.models import Author, Book

from .helpers import anames, make_books, names

pytestmark = pytest.mark.usefixtures("db_clean")


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    """Run a case as Django's runner does, on the databases that are there."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    output = io.StringIO()
    return DiscoverRunner.test_runner(stream=output, verbosity=0).run(suite)


def assert_passes(case: type[unittest.TestCase], tests: int) -> None:
    result = run(case)
    problems = [text for _, text in (*result.failures, *result.errors)]
    assert problems == []
    assert result.testsRun == tests


def case(**methods: Any) -> type[TestCase]:
    return type("Case", (TestCase,), {"__module__": __name__, **methods})


def test_each_of_many_tests_starts_from_the_same_rows() -> None:
    def set_up(cls: Any) -> None:
        Author.objects.create(name="of the class")

    def look(self: Any) -> None:
        assert names() == ["of the class"]
        Author.objects.create(name="of the test")

    async def alook(self: Any) -> None:
        assert await anames() == ["of the class"]
        await Author.objects.acreate(name="of the test")

    assert_passes(
        case(
            setUpTestData=classmethod(set_up),
            test_1=look,
            test_2=alook,
            test_3=look,
            test_4=alook,
        ),
        4,
    )
    assert names() == []


def test_tasks_and_threads_of_an_async_test_see_its_transaction() -> None:
    async def test(self: Any) -> None:
        await Author.objects.acreate(name="Ann")
        seen = await asyncio.gather(
            anames(),
            asyncio.create_task(anames()),
            asyncio.to_thread(names),
            asgiref.sync.sync_to_async(names)(),
            asgiref.sync.sync_to_async(names, thread_sensitive=False)(),
        )
        assert seen == [["Ann"]] * 5

    assert_passes(case(test=test), 1)
    assert names() == []


def test_a_scope_in_an_async_test_sees_its_transaction() -> None:
    async def test(self: Any) -> None:
        await Author.objects.acreate(name="Ann")
        async with onloop.scope():
            assert await anames() == ["Ann"]

    assert_passes(case(test=test), 1)


def test_async_client_sees_the_transaction_of_its_test() -> None:
    async def test(self: Any) -> None:
        await asgiref.sync.sync_to_async(make_books)("Ann", 2)
        for path in ("/books/", "/books-sync/"):
            answer = await self.async_client.get(path)
            assert len(answer.json()["books"]) == 2

    assert_passes(case(test=test), 1)
    assert Book.objects.count() == 0


def test_blocks_in_an_async_test_are_savepoints() -> None:
    async def test(self: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            async with transaction.atomic():
                await Author.objects.acreate(name="goes")
                raise ZeroDivisionError
        async with transaction.atomic(durable=True):
            await Author.objects.acreate(name="stays")
        assert await anames() == ["stays"]

    assert_passes(case(test=test), 1)
    assert names() == []


def test_gathered_blocks_in_an_async_test_take_turns() -> None:
    async def work(n: int) -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name=str(n))
            await asyncio.sleep(0)
            if n % 2:
                raise ZeroDivisionError

    async def test(self: Any) -> None:
        await asyncio.gather(*(work(n) for n in range(6)), return_exceptions=True)
        assert await anames() == ["0", "2", "4"]

    assert_passes(case(test=test), 1)


def test_commit_callbacks_are_captured() -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("async")

    async def test(self: Any) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            async with transaction.atomic():
                transaction.on_commit(note)
                transaction.on_commit(lambda: ran.append("sync"))
        assert len(callbacks) == 2
        assert ran == []

    def test_sync(self: Any) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            transaction.on_commit(note)
        assert ran == ["async"]

    assert_passes(case(test=test, test_sync=test_sync), 2)


def test_queries_of_an_async_test_are_counted() -> None:
    async def test(self: Any) -> None:
        with self.assertNumQueries(3):
            await asyncio.gather(*(anames() for _ in range(3)))

    assert_passes(case(test=test), 1)


def test_a_test_that_fails_leaves_nothing_behind_for_the_next() -> None:
    async def fails(self: Any) -> None:
        await Author.objects.acreate(name="Ann")
        raise ZeroDivisionError

    async def looks(self: Any) -> None:
        assert await anames() == []

    result = run(case(test_1=fails, test_2=looks))
    assert [text.strip().splitlines()[-1] for _, text in result.errors] == ["ZeroDivisionError"]
    assert result.failures == []


def test_two_databases_have_a_transaction_each() -> None:
    async def test(self: Any) -> None:
        await Author.objects.acreate(name="default")
        await Author.objects.using("other").acreate(name="other")
        seen = await asyncio.gather(anames(), anames("other"))
        assert seen == [["default"], ["other"]]

    assert_passes(case(databases={"default", "other"}, test_1=test, test_2=test), 2)
    assert names() == []
    assert names("other") == []


def test_a_transaction_test_case_commits_and_flushes() -> None:
    async def test(self: Any) -> None:
        assert await anames() == []
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
        assert not connection.in_atomic_block

    assert_passes(
        type(
            "Case",
            (TransactionTestCase,),
            {"__module__": __name__, "test_1": test, "test_2": test},
        ),
        2,
    )
