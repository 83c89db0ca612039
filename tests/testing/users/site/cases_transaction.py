"""`TransactionTestCase`: what is written is committed, and the tables are emptied after it."""
# ruff: noqa: PT009 - unittest's own asserts, as in a Django project

import asyncio
import atexit
import threading

import asgiref.sync
from django.db import connection, connections, transaction
from django.test import TransactionTestCase, tag
from helpers import (
    anames,
    asgi_get,
    close_all,
    names,
    names_in_thread,
    seen_everywhere,
    written_everywhere,
)
from shop import views
from shop.models import Author

from onloop import bridge


async def make(name, using="default"):
    return await Author.objects.using(using).acreate(name=name)


class Rows(TransactionTestCase):
    def setUp(self):
        asgiref.sync.async_to_sync(make)("set up")

    async def test_1_by_all_kinds_of_code(self):
        written = await written_everywhere()
        self.assertEqual(await anames(), sorted(["set up", *written]))

    async def test_2_for_all_kinds_of_code(self):
        for seen in await seen_everywhere():
            self.assertEqual(seen, ["set up"])

    def test_3_of_a_sync_test(self):
        Author.objects.create(name="test 3")
        self.assertEqual(asgiref.sync.async_to_sync(anames)(), ["set up", "test 3"])

    async def test_4_are_there_for_others_after_the_block_only(self):
        async with transaction.atomic():
            await make("test 4")
            if connection.vendor == "postgresql":
                # A thread that inherits nothing is somebody else.
                self.assertEqual(await _outside(names), ["set up"])
        self.assertEqual(await _outside(names), ["set up", "test 4"])

    async def test_5_of_requests(self):
        views.sent.clear()
        await self.async_client.get("/add/", {"name": "1"})
        await self.async_client.get("/add-sync/", {"name": "2"})
        await asyncio.gather(asgi_get("/add/", name="3"), asgi_get("/add-sync/", name="4"))
        self.assertEqual(await anames(), ["1", "2", "3", "4", "set up"])
        self.assertEqual(sorted(views.sent), ["1", "2", "3", "4"])  # committed for good


async def _outside(function):
    got = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def work():
        try:
            found = function()
        finally:
            connections.close_all()
        loop.call_soon_threadsafe(got.set_result, found)

    threading.Thread(target=work).start()
    return await got


class Queries(TransactionTestCase):
    async def test_of_tasks_are_counted(self):
        with self.assertNumQueries(4):
            await anames()
            await asyncio.gather(anames(), anames())
            async with asyncio.TaskGroup() as group:
                group.create_task(anames())

    async def test_of_tasks_of_tasks_are_counted(self):
        async def both():
            await asyncio.gather(anames(), anames())

        with self.assertNumQueries(3):
            await asyncio.gather(both(), anames())

    async def test_of_a_transaction_and_its_threads_are_counted(self):
        # BEGIN and COMMIT are none; in an atomic block threads are part of it.
        async with transaction.atomic():
            with self.assertNumQueries(3):
                await asyncio.gather(anames(), asyncio.to_thread(names_in_thread))
                await asgiref.sync.sync_to_async(names)()

    async def test_of_tasks_that_were_there_before_are_not(self):
        go = asyncio.Event()

        async def query():
            await anames()
            await go.wait()
            await anames()

        task = asyncio.create_task(query())
        await asyncio.sleep(0)
        with self.assertNumQueries(1):
            go.set()
            await asyncio.gather(task, anames())


class CommitCallbacks(TransactionTestCase):
    async def test_run_for_good(self):
        ran = []

        async def note():
            ran.append(await anames())

        async with transaction.atomic():
            transaction.on_commit(note)
            await make("Ann")
        self.assertEqual(ran, [["Ann"]])


class Sequences(TransactionTestCase):
    reset_sequences = True

    async def test_1(self):
        self.assertEqual((await make("Ann")).pk, 1)

    async def test_2(self):
        self.assertEqual((await make("Ann")).pk, 1)


class SomeApps(TransactionTestCase):
    available_apps = ["onloop", "shop"]

    async def test_1(self):
        await make("Ann")

    async def test_2(self):
        self.assertEqual(await anames(), [])


class TwoDatabases(TransactionTestCase):
    databases = {"default", "other"}

    async def test_1(self):
        await asyncio.gather(make("default"), make("other", using="other"))
        seen = await asyncio.gather(anames(), anames("other"))
        self.assertEqual(seen, [["default"], ["other"]])

    async def test_2(self):
        self.assertEqual(await asyncio.gather(anames(), anames("other")), [[], []])


class Loops(TransactionTestCase):
    """Loops that end in all ways, with connections in their pools and out of them."""

    @classmethod
    def tearDownClass(cls):
        connections.close_all()
        connection.close_pool()
        super().tearDownClass()

    def tearDown(self):
        self.assertEqual(names(), ["Ann"])

    def test_one_that_asyncio_run_ends(self):
        asyncio.run(make("Ann"))

    def test_one_that_is_closed_at_once(self):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(make("Ann"))
        loop.close()

    def test_one_that_is_never_closed(self):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(make("Ann"))
        atexit.register(loop.close)  # Python complains otherwise

    def test_one_that_is_closed_with_a_connection_out(self):
        async def work():
            await make("Ann")
            await bridge.run(connection.ensure_connection)

        loop = asyncio.new_event_loop()
        task = loop.create_task(work())
        loop.run_until_complete(task)
        loop.close()

    def test_one_of_a_thread(self):
        thread = threading.Thread(target=asyncio.run, args=[make("Ann")])
        thread.start()
        thread.join()

    def test_one_that_goes_on_in_a_thread(self):
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(make("Ann"), loop).result()

    async def test_what_closes_all_in_a_task_can_go_on(self):
        await make("Ann")
        await bridge.run(connections.close_all)
        self.assertEqual(await anames(), ["Ann"])
        self.assertEqual(await asyncio.to_thread(close_all), 1)
        await bridge.run(connection.close_pool)
        self.assertEqual(await anames(), ["Ann"])


@tag("failing")
class Failing(TransactionTestCase):
    """These go wrong, each in its way; what follows finds nothing of it."""

    async def test_1_that_fails(self):
        await make("left behind")
        self.fail("as it should")

    async def test_2_that_errs_inside_a_block(self):
        async with transaction.atomic():
            await make("left behind")
            raise ZeroDivisionError

    async def test_3_that_is_cancelled_inside_a_block(self):
        async with transaction.atomic():
            await make("left behind")
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    async def test_4_that_leaves_a_task_in_a_block(self):
        async def forgotten():
            async with transaction.atomic():
                await make("left behind")
                entered.set()
                await asyncio.get_running_loop().create_future()

        entered = asyncio.Event()
        self.task = asyncio.create_task(forgotten())
        await entered.wait()
        self.fail("as it should")

    async def test_5_that_leaves_a_block_open(self):
        await transaction.atomic().__aenter__()
        await make("left behind")
        self.fail("as it should")

    async def test_6_finds_nothing(self):
        self.assertEqual(await anames(), [])
        self.assertEqual(await asyncio.to_thread(names_in_thread), [])
        self.assertFalse(connection.in_atomic_block)
