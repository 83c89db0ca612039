"""pytest-django's `transactional_db` and what stands on it: commits, and tables emptied."""

import asyncio

import asgiref.sync
import httpx
import pytest
from django.db import connection, transaction
from helpers import (
    anames,
    asgi_get,
    names,
    names_in_thread,
    on_postgresql,
    seen_everywhere,
    slow_query,
    written_everywhere,
)
from runner import fixture, mark, wide
from shop import views
from shop.models import Author

from onloop import bridge

pytestmark = [mark, pytest.mark.usefixtures("anyio_backend")]
kept = []


@fixture
async def arow(transactional_db):
    author = await Author.objects.acreate(name="async fixture")
    yield author
    assert await Author.objects.filter(pk=author.pk).aexists()


class TestRows:
    async def test_1_are_seen_by_all_kinds_of_code(self, arow):
        for seen in await seen_everywhere():
            assert seen == ["async fixture"]
        assert not connection.in_atomic_block

    async def test_2_are_written_by_all_kinds_of_code(self, arow):
        views.sent.clear()
        written = await written_everywhere()
        assert await anames() == sorted(["async fixture", *written])
        assert sorted(views.sent) == ["async view", "view"]

    def test_3_are_seen_in_sync_tests(self, arow):
        assert names() == ["async fixture"]
        seen = asgiref.sync.async_to_sync(seen_everywhere)()
        assert seen == [["async fixture"]] * len(seen)

    @pytest.mark.django_db(transaction=True)
    async def test_4_are_gone(self):
        assert await anames() == []

    async def test_5_relations_are_loaded_when_they_are_asked_for(self, arow):
        book = await arow.books.acreate(title="Notes")
        assert (await arow.books.aget(pk=book.pk)).author.name == "async fixture"


async def test_queries_are_counted(transactional_db, django_assert_num_queries):
    with django_assert_num_queries(4):
        await anames()
        await asyncio.gather(anames(), anames())
        async with asyncio.TaskGroup() as group:
            group.create_task(anames())


@pytest.mark.parametrize("n", [1, 2])
async def test_sequences_are_reset(django_db_reset_sequences, n):
    assert (await Author.objects.acreate(name="Ann")).pk == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.parametrize("n", [1, 2])
async def test_two_databases(n):
    assert await asyncio.gather(anames(), anames("other")) == [[], []]
    await Author.objects.using("other").acreate(name="other")
    assert await anames("other") == ["other"]


async def test_the_ledger_has_nothing_to_complain_of(leak_ledger, transactional_db):
    await written_everywhere()
    await seen_everywhere()


async def test_a_live_server(live_server):
    await Author.objects.acreate(name="Ann")
    async with httpx.AsyncClient(base_url=live_server.url, timeout=90) as http:
        assert (await http.get("/authors/")).json() == {"names": ["Ann"]}
        wanted = [http.get("/add/", params={"name": f"a {n}"}) for n in range(3)]
        wanted += [http.get("/add-sync/", params={"name": f"s {n}"}) for n in range(3)]
        await asyncio.gather(*wanted, asgi_get("/add/", name="own"))
    assert await Author.objects.acount() == 8


def test_a_live_server_in_a_sync_test(live_server):
    assert httpx.get(f"{live_server}/add/", params={"name": "x"}).status_code == 200
    assert names() == ["x"]


class TestFailing:
    async def test_1_that_fails(self, arow):
        await Author.objects.acreate(name="left behind")
        raise AssertionError

    async def test_2_that_errs_in_a_block(self, transactional_db):
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            raise ZeroDivisionError

    async def test_3_that_leaves_a_task_in_a_block(self, transactional_db):
        entered = asyncio.Event()

        async def forgotten():
            async with transaction.atomic():
                await Author.objects.acreate(name="left behind")
                entered.set()
                await asyncio.get_running_loop().create_future()

        kept.append(asyncio.create_task(forgotten()))
        await entered.wait()
        raise AssertionError

    @pytest.mark.timeout(1, method="signal", func_only=True)
    async def test_4_that_is_broken_off_in_a_block(self, transactional_db):
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            await asyncio.sleep(30)

    @pytest.mark.timeout(1, method="signal", func_only=True)
    async def test_5_that_is_broken_off_in_a_query(self, transactional_db):
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            if on_postgresql():
                await bridge.run(slow_query)
            await asyncio.sleep(30)

    async def test_6_finds_nothing(self, transactional_db):
        assert await anames() == []
        assert await asyncio.to_thread(names_in_thread) == []


class TestOneLoop:
    pytestmark = wide

    async def test_1(self, transactional_db, of_module_runner):
        await written_everywhere()

    async def test_2_that_is_broken_off_by_an_error_in_a_block(self, transactional_db):
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            raise AssertionError

    @pytest.mark.timeout(1, method="signal", func_only=True)
    async def test_3_that_is_broken_off_in_a_block(self, transactional_db):
        if mark.name == "anyio":
            raise AssertionError  # its one task would go on with this test
        async with transaction.atomic():
            await Author.objects.acreate(name="left behind")
            if on_postgresql():
                await bridge.run(slow_query)
            await asyncio.sleep(30)

    async def test_4(self, transactional_db):
        for seen in await seen_everywhere():
            assert seen == []
