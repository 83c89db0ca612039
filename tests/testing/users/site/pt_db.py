"""pytest-django's `db`: a transaction around each test."""

import asyncio

import asgiref.sync
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.test import Client
from helpers import (
    anames,
    asgi_get,
    close_all,
    in_plain_thread,
    names,
    on_postgresql,
    seen_everywhere,
    slow_query,
    written_everywhere,
)
from runner import fixture, mark, wide, wide_fixture
from shop.models import Author, Book

from onloop import bridge

pytestmark = [mark, pytest.mark.usefixtures("anyio_backend")]


@pytest.fixture
def row(db):
    return Author.objects.create(name="sync fixture")


@fixture
async def arow(db):
    """Written in one task, read in another, looked at in a third."""
    author = await Author.objects.acreate(name="async fixture")
    yield author
    assert await Author.objects.filter(pk=author.pk).aexists()


@fixture
async def arow_in_a_block(db):
    async with transaction.atomic():
        yield await Author.objects.acreate(name="block of a fixture")


@fixture
async def plain_arow(db):
    return await Author.objects.acreate(name="plain fixture")


ROWS = ["async fixture", "plain fixture", "sync fixture"]


class TestRows:
    """Each test starts from the same rows, whoever wrote what in the one before."""

    async def test_1_are_seen_by_all_kinds_of_code(self, row, arow, plain_arow):
        for seen in await seen_everywhere():
            assert seen == ROWS

    async def test_2_are_written_by_all_kinds_of_code(self, row, arow, plain_arow):
        assert await anames() == ROWS
        written = await written_everywhere()
        assert await anames() == sorted(ROWS + written)

    def test_3_are_seen_in_sync_tests(self, row, arow, plain_arow):
        assert names() == ROWS
        seen = asgiref.sync.async_to_sync(seen_everywhere)()
        assert seen == [ROWS] * len(seen)
        assert in_plain_thread(names) == ROWS
        assert asyncio.run(anames()) == ROWS

    async def test_4_are_gone(self, db):
        assert await anames() == []

    async def test_5_of_a_block_of_a_fixture(self, arow_in_a_block):
        assert await anames() == ["block of a fixture"]
        assert (
            await asyncio.gather(anames(), asyncio.to_thread(names))
            == [["block of a fixture"]] * 2
        )
        await Author.objects.acreate(name="test")

    @pytest.mark.django_db
    async def test_6_are_gone(self):
        assert await anames() == []

    async def test_7_relations_are_loaded_when_they_are_asked_for(self, arow):
        book = await Book.objects.acreate(author=arow, title="Notes")
        book = await Book.objects.aget(pk=book.pk)
        assert book.author.name == "async fixture"
        assert list(book.author.books.all()) == [book]

        async def in_a_task():
            again = await Book.objects.aget(pk=book.pk)
            return again.author.name

        assert await asyncio.gather(in_a_task()) == ["async fixture"]

    async def test_8_stay_when_threads_close_their_connections(self, row):
        assert await asyncio.to_thread(close_all) == 1
        assert await asgiref.sync.sync_to_async(close_all, thread_sensitive=False)() == 1
        assert await anames() == ["sync fixture"]


@pytest.mark.parametrize("n", [1, 2, 3])
async def test_a_test_with_parameters(db, n):
    assert await anames() == []
    await Author.objects.acreate(name=str(n))


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize("n", [1, 2])
async def test_two_databases(n, django_assert_num_queries):
    assert await asyncio.gather(anames(), anames("other")) == [[], []]
    with django_assert_num_queries(2, using="other"):
        await Author.objects.using("other").acreate(name="other")
        assert await asyncio.to_thread(names, "other") == ["other"]


async def test_queries_of_tasks_and_threads_are_counted(db, django_assert_num_queries):
    with django_assert_num_queries(5) as captured:
        await anames()
        await asyncio.gather(anames(), anames(), asyncio.to_thread(names))
        await asgiref.sync.sync_to_async(names)()
    assert all("shop_author" in query["sql"] for query in captured)
    with (
        pytest.raises(pytest.fail.Exception, match="Expected to perform 1 queries"),
        django_assert_num_queries(1),
    ):
        await asyncio.gather(anames(), anames())


async def test_commit_callbacks_are_captured(db, django_capture_on_commit_callbacks):
    ran = []

    async def note():
        ran.append(await Author.objects.acount())

    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(note)
            transaction.on_commit(lambda: ran.append("sync"))
        assert ran == []
    assert (len(callbacks), ran) == (2, [1, "sync"])


def test_commit_callbacks_are_captured_in_sync_tests(db, django_capture_on_commit_callbacks):
    ran = []

    async def note():
        ran.append(await Author.objects.acount())

    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        transaction.on_commit(note)
    assert ran == [0]


async def test_clients_in_an_async_test(row, async_client, client):
    for path in ("/authors/", "/authors-sync/"):
        wanted = {"names": ["sync fixture"]}
        assert (await async_client.get(path)).json() == wanted
        assert (await asgi_get(path)).json() == wanted
        assert client.get(path).json() == wanted
        assert (await asgiref.sync.sync_to_async(client.get)(path)).json() == wanted
    await async_client.get("/add/", {"name": "1"})
    await asyncio.gather(asgi_get("/add/", name="2"), asgi_get("/add-sync/", name="3"))
    assert await anames() == ["1", "2", "3", "sync fixture"]


def test_clients_in_a_sync_test(arow, client, async_client):
    for path in ("/authors/", "/authors-sync/"):
        wanted = {"names": ["async fixture"]}
        assert client.get(path).json() == wanted
        assert asgiref.sync.async_to_sync(async_client.get)(path).json() == wanted
        assert asyncio.run(asgi_get(path)).json() == wanted


async def test_sessions_and_users(db, async_client):
    user = await User.objects.acreate_user("ann", password="a password")
    await async_client.aforce_login(user)
    for n, path in enumerate(("/visits/", "/visits-sync/"), 1):
        assert (await async_client.get(path)).json() == {"user": "ann", "visits": n}
    client = Client()
    assert client.login(username="ann", password="a password")
    assert client.get("/visits-sync/").json() == {"user": "ann", "visits": 1}


def test_admin_client(admin_client):
    assert admin_client.get("/visits/").json() == {"user": "admin", "visits": 1}


# --- no database ------------------------------------------------------------------------------


async def test_a_database_that_was_not_asked_for_is_refused():
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        await anames()
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        await asyncio.create_task(anames())
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        await asyncio.to_thread(names)
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        async with transaction.atomic():
            await anames()


def test_a_database_that_was_not_asked_for_is_refused_in_a_sync_test():
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        names()
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        asgiref.sync.async_to_sync(anames)()


async def test_without_a_database_a_test_is_no_bridge():
    assert not bridge.active()
    with pytest.raises((SynchronousOnlyOperation, RuntimeError)):
        names()


async def test_the_blocker_can_be_lifted(django_db_blocker, django_db_setup):
    with django_db_blocker.unblock():
        assert await anames() == []
        assert await asyncio.gather(anames(), anames()) == [[], []]
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        await anames()


# --- Onloop's own fixtures --------------------------------------------------------------------


async def test_the_ledger_does_not_mind_the_transaction(leak_ledger, db, arow):
    await written_everywhere()
    for seen in await seen_everywhere():
        assert "async fixture" in seen


async def test_the_ledger_does_not_mind_one_that_begins_in_it(leak_ledger, db):
    await Author.objects.acreate(name="Ann")
    async with transaction.atomic():
        await anames()


def test_the_ledger_does_not_mind_the_transaction_of_a_sync_test(leak_ledger, row):
    Author.objects.create(name="Ann")
    assert asgiref.sync.async_to_sync(anames)() == names()


async def test_leaving_a_task_fails(leak_ledger, db):
    leak_ledger.timeout_s = 0
    kept.append(asyncio.create_task(asyncio.sleep(60), name="planted"))


kept = []


# --- what goes wrong --------------------------------------------------------------------------


class TestFailing:
    async def test_1_that_fails(self, arow):
        await Author.objects.acreate(name="left behind")
        raise AssertionError

    async def test_2_that_errs_in_a_block(self, db):
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            raise ZeroDivisionError

    async def test_3_that_leaves_a_block_open(self, db):
        await transaction.atomic().__aenter__()
        await Author.objects.acreate(name="left behind")
        raise AssertionError

    async def test_4_that_leaves_a_task_in_a_block(self, db):
        await forget_a_task_in_a_block()
        raise AssertionError

    @pytest.mark.timeout(1, method="signal", func_only=True)
    async def test_5_that_is_broken_off(self, db):
        await Author.objects.acreate(name="left behind")
        if on_postgresql():
            await bridge.run(slow_query)
        await asyncio.sleep(30)

    @pytest.mark.timeout(1, method="signal", func_only=True)
    async def test_6_that_is_broken_off_in_a_block(self, db):
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            await asyncio.sleep(30)

    async def test_7_whose_query_times_out(self, db):
        async with asyncio.timeout(0.1):
            if on_postgresql():
                await bridge.run(slow_query)
            await asyncio.sleep(30)

    async def test_8_that_is_cancelled(self, db):
        await Author.objects.acreate(name="left behind")
        if mark.name == "asyncio":  # anyio's one task would end for all tests
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        raise AssertionError

    async def test_9_finds_nothing(self, db):
        assert await anames() == []
        assert await asyncio.to_thread(names) == []
        assert len(connection.atomic_blocks) == 1
        assert not connection.needs_rollback


async def forget_a_task_in_a_block():
    entered = asyncio.Event()

    async def forgotten():
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            entered.set()
            await asyncio.get_running_loop().create_future()

    kept.append(asyncio.create_task(forgotten()))
    await entered.wait()


# --- one loop for several tests ---------------------------------------------------------------


@wide_fixture
async def wide_row(db):
    author = await Author.objects.acreate(name="wide fixture")
    yield author
    assert await Author.objects.filter(pk=author.pk).aexists()


class TestOneLoop:
    pytestmark = wide
    loops = []

    async def test_1(self, wide_row, of_module_runner):
        self.loops.append(asyncio.get_running_loop())
        for seen in await seen_everywhere():
            assert seen == ["wide fixture"]

    async def test_2(self, wide_row):
        self.loops.append(asyncio.get_running_loop())
        await written_everywhere()

    async def test_3_that_leaves_a_block_open(self, db):
        await transaction.atomic().__aenter__()
        await Author.objects.acreate(name="left behind")
        raise AssertionError

    @pytest.mark.timeout(1, method="signal", func_only=True)
    async def test_4_that_is_broken_off(self, db):
        if mark.name == "anyio":
            raise AssertionError  # its one task would go on with this test
        await Author.objects.acreate(name="left behind")
        if on_postgresql():
            await bridge.run(slow_query)
        async with transaction.atomic():
            await asyncio.sleep(30)

    async def test_5(self, db):
        self.loops.append(asyncio.get_running_loop())
        assert await anames() == []
        assert await asyncio.gather(anames(), asyncio.to_thread(names)) == [[], []]
        if mark.name == "asyncio":
            assert len({id(loop) for loop in self.loops}) == 1
