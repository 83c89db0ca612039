"""`TestCase`: a transaction around the class and one around each test."""
# ruff: noqa: PT009, PT027 - unittest's own asserts, as in a Django project

import asyncio

import asgiref.sync
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import (
    Client,
    SimpleTestCase,
    TestCase,
    override_settings,
    tag,
)
from django.test.testcases import DatabaseOperationForbidden
from django.test.utils import CaptureQueriesContext
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
from shop import views
from shop.models import Author, Book, Shelf

from onloop import bridge


def _end(loop):
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def make(name, using="default"):
    return await Author.objects.using(using).acreate(name=name)


class Rows(TestCase):
    """Each test starts from the same rows, whoever wrote what in the one before."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        asgiref.sync.async_to_sync(make)("class")

    @classmethod
    def setUpTestData(cls):
        cls.author = asgiref.sync.async_to_sync(make)("data")
        Book.objects.create(author=cls.author, title="Notes")

    def setUp(self):
        asgiref.sync.async_to_sync(make)("set up")
        self.first = ["class", "data", "set up"]

    async def test_1_async(self):
        self.assertEqual(await anames(), self.first)
        await make("test 1")

    def test_2_sync(self):
        self.assertEqual(names(), self.first)
        Author.objects.create(name="test 2")

    async def test_3_by_all_kinds_of_code(self):
        self.assertEqual(await anames(), self.first)
        written = await written_everywhere()
        self.assertEqual(await anames(), sorted(self.first + written))

    async def test_4_for_all_kinds_of_code(self):
        for seen in await seen_everywhere():
            self.assertEqual(seen, self.first)

    def test_5_for_a_thread_without_context(self):
        self.assertEqual(in_plain_thread(names), self.first)

    def test_6_for_async_code_of_sync_tests(self):
        seen = asgiref.sync.async_to_sync(seen_everywhere)()
        self.assertEqual(seen, [self.first] * len(seen))

    def test_7_for_a_loop_of_its_own(self):
        self.assertEqual(asyncio.run(anames()), self.first)

    async def test_8_in_sub_tests_that_are_savepoints(self):
        for n in range(3):
            with self.subTest(n=n):
                with self.assertRaises(ZeroDivisionError):
                    async with transaction.atomic():
                        await make(str(n))
                        with self.subTest("within"):
                            self.assertIn(str(n), await anames())
                        raise ZeroDivisionError
                self.assertEqual(await anames(), self.first)

    async def test_9_of_the_class_can_be_changed(self):
        self.author.name = "changed"
        await self.author.asave()
        self.assertEqual(await anames(), ["changed", "class", "set up"])

    def test_a_of_the_class_were_not_changed(self):
        self.assertEqual(self.author.name, "data")
        self.assertEqual(names(), self.first)

    async def test_b_relations_are_loaded_when_they_are_asked_for(self):
        book = await Book.objects.aget()
        self.assertEqual(book.author.name, "data")
        self.assertEqual(list(book.author.books.all()), [book])

    def test_c_written_by_migrations_are_there(self):
        self.assertEqual(Shelf.objects.get().label, "by a migration")


class Connections(TestCase):
    """The test's connection stays the test's, whatever the code under test does to its own."""

    def setUp(self):
        Author.objects.create(name="here")

    def test_a_thread_that_closes_its_connections(self):
        self.assertEqual(in_plain_thread(close_all), 1)
        self.assertEqual(names(), ["here"])

    async def test_threads_of_a_task_that_close_their_connections(self):
        for thread_sensitive in (True, False):
            close = asgiref.sync.sync_to_async(close_all, thread_sensitive=thread_sensitive)
            # asgiref runs a sensitive one in the test's own thread; closing there is its own.
            if not thread_sensitive:
                self.assertEqual(await close(), 1)
        self.assertEqual(await asyncio.to_thread(close_all), 1)
        self.assertEqual(await anames(), ["here"])

    async def test_threads_inside_a_block_that_close_their_connections(self):
        async with transaction.atomic():
            self.assertEqual(await asyncio.to_thread(close_all), 1)
            await make("there")
        self.assertEqual(await anames(), ["here", "there"])

    async def test_gathered_blocks_take_turns(self):
        async def work(n):
            async with transaction.atomic():
                await make(str(n))
                await asyncio.sleep(0)
                if n % 2:
                    raise ZeroDivisionError

        await asyncio.gather(*(work(n) for n in range(6)), return_exceptions=True)
        self.assertEqual(await anames(), ["0", "2", "4", "here"])

    async def test_a_query_that_times_out_in_a_block_costs_that_block_only(self):
        if not on_postgresql():
            self.skipTest("no query of SQLite waits")
        with self.assertRaises(TimeoutError):
            async with asyncio.timeout(0.1), transaction.atomic():
                slow_query()
        self.assertEqual(await anames(), ["here"])

    async def test_a_query_that_times_out_costs_the_transaction_and_not_the_next_test(self):
        if not on_postgresql():
            self.skipTest("no query of SQLite waits")
        with self.assertRaises(TimeoutError):
            async with asyncio.timeout(0.1):
                await bridge.run(slow_query)
        with self.assertRaises(TransactionManagementError):
            await anames()

    async def test_a_task_that_is_left_behind_in_a_block(self):
        entered = asyncio.Event()

        async def forgotten():
            async with transaction.atomic():
                await make("left behind")
                entered.set()
                await asyncio.get_running_loop().create_future()

        self.task = asyncio.create_task(forgotten())
        await entered.wait()


class AfterConnections(TestCase):
    def test_nothing_was_left_behind(self):
        self.assertEqual(names(), [])
        self.assertFalse(connection.needs_rollback)
        self.assertEqual(len(connection.atomic_blocks), 2)


class Stranded(TestCase):
    """Nothing can be rolled back on a connection with a statement under way."""

    def test_a_loop_that_is_not_closed_with_a_task_in_a_query(self):
        async def forgotten():
            if on_postgresql():
                await bridge.run(slow_query)
            else:
                async with transaction.atomic():
                    await make("left behind")
                    await asyncio.get_running_loop().create_future()

        async def start():
            type(self).task = asyncio.create_task(forgotten())
            for _ in range(20):
                await asyncio.sleep(0.005)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(start())
        # Closed only after the tests: until then nobody can end the task.
        self.addClassCleanup(_end, loop)


class AfterStranded(TestCase):
    def test_nothing_was_left_behind(self):
        self.assertEqual(names(), [])
        self.assertEqual(len(connection.atomic_blocks), 2)


class Clients(TestCase):
    """Django's own clients and handlers, and Onloop's application."""

    @classmethod
    def setUpTestData(cls):
        from django.contrib.auth.models import User

        cls.user = User.objects.create_user("ann", password="a password")
        ann = Author.objects.create(name="Ann")
        Book.objects.create(author=ann, title="One")
        Book.objects.create(author=ann, title="Two")

    def assert_books(self, answer):
        self.assertEqual(answer.json(), {"authors": 1, "by": ["Ann", "Ann"]})

    async def test_the_async_client_in_an_async_test(self):
        for path in ("/authors/", "/authors-sync/"):
            answer = await self.async_client.get(path)
            self.assertEqual(answer.json(), {"names": ["Ann"]})
        self.assert_books(await self.async_client.get("/books/"))

    async def test_the_client_in_an_async_test(self):
        for path in ("/authors/", "/authors-sync/"):
            self.assertEqual(self.client.get(path).json(), {"names": ["Ann"]})
        self.assert_books(self.client.get("/books/"))
        get = asgiref.sync.sync_to_async(self.client.get)
        self.assert_books(await get("/books/"))

    def test_the_client_in_a_sync_test(self):
        for path in ("/authors/", "/authors-sync/"):
            self.assertEqual(self.client.get(path).json(), {"names": ["Ann"]})
        self.assert_books(self.client.get("/books/"))

    def test_the_async_client_in_a_sync_test(self):
        get = asgiref.sync.async_to_sync(self.async_client.get)
        self.assert_books(get("/books/"))

    async def test_onloop_s_application(self):
        for path in ("/authors/", "/authors-sync/"):
            self.assertEqual((await asgi_get(path)).json(), {"names": ["Ann"]})
        self.assert_books(await asgi_get("/books/"))
        seen = await asyncio.gather(*(asgi_get("/authors/") for _ in range(5)))
        self.assertEqual([answer.json() for answer in seen], [{"names": ["Ann"]}] * 5)

    async def test_what_requests_write_is_seen_after_them(self):
        await self.async_client.get("/add/", {"name": "1"})
        await self.async_client.get("/add-sync/", {"name": "2"})
        self.client.get("/add/", {"name": "3"})
        self.client.get("/add-sync/", {"name": "4"})
        await asgi_get("/add/", name="5")
        await asgi_get("/add-sync/", name="6")
        self.assertEqual(await anames(), ["1", "2", "3", "4", "5", "6", "Ann"])

    async def test_requests_of_the_application_that_run_at_once(self):
        wanted = [asgi_get("/add/", name=f"a {n}") for n in range(5)]
        wanted += [asgi_get("/add-sync/", name=f"s {n}") for n in range(5)]
        answers = await asyncio.gather(*wanted)
        self.assertEqual([answer.status_code for answer in answers], [200] * 10)
        self.assertEqual(await Author.objects.acount(), 11)

    async def test_a_session_and_a_user_of_the_async_client(self):
        await self.async_client.aforce_login(self.user)
        for n, path in enumerate(("/visits/", "/visits-sync/", "/visits/"), 1):
            answer = await self.async_client.get(path)
            self.assertEqual(answer.json(), {"user": "ann", "visits": n})
        await self.async_client.alogout()
        answer = await self.async_client.get("/visits/")
        self.assertEqual(answer.json(), {"user": "", "visits": 1})

    async def test_a_log_in_with_a_password(self):
        self.assertTrue(await self.async_client.alogin(username="ann", password="a password"))
        answer = await self.async_client.get("/visits/")
        self.assertEqual(answer.json()["user"], "ann")

    def test_a_session_and_a_user_of_the_client(self):
        self.client.force_login(self.user)
        for n, path in enumerate(("/visits/", "/visits-sync/", "/visits/"), 1):
            self.assertEqual(self.client.get(path).json(), {"user": "ann", "visits": n})
        self.client.logout()
        self.assertTrue(self.client.login(username="ann", password="a password"))

    async def test_a_session_and_a_user_of_onloop_s_application(self):
        await self.async_client.aforce_login(self.user)
        key = self.async_client.cookies["sessionid"].value
        import httpx

        from onloop.asgi import get_asgi_application

        transport = httpx.ASGITransport(get_asgi_application())
        async with httpx.AsyncClient(
            transport=transport, base_url="http://testserver", cookies={"sessionid": key}
        ) as http:
            for n, path in enumerate(("/visits/", "/visits-sync/", "/visits/"), 1):
                answer = await http.get(path)
                self.assertEqual(answer.json(), {"user": "ann", "visits": n})


class AtomicRequests(TestCase):
    """`ATOMIC_REQUESTS` with each client and each kind of view."""

    def setUp(self):
        settings = connections.settings["default"]
        self.addCleanup(settings.update, ATOMIC_REQUESTS=settings["ATOMIC_REQUESTS"])
        settings["ATOMIC_REQUESTS"] = True
        self.quiet = Client(raise_request_exception=False)
        self.async_client.raise_request_exception = False

    async def test_of_the_async_client(self):
        await self.check(self.async_client.get)

    async def test_of_onloop_s_application(self):
        async def get(path, query):
            return await asgi_get(path, **query)

        await self.check(get)

    def test_of_the_client(self):
        async def get(path, query):
            return await asgiref.sync.sync_to_async(self.quiet.get)(path, query)

        asgiref.sync.async_to_sync(self.check)(get)

    async def check(self, get):
        for path in ("/add/", "/add-sync/"):
            answer = await get(path, {"name": f"{path} stays"})
            self.assertEqual(answer.json(), {"atomic": True})
            answer = await get(path, {"name": f"{path} goes", "fail": "1"})
            self.assertEqual(answer.status_code, 500)
        self.assertEqual(await anames(), ["/add-sync/ stays", "/add/ stays"])


class CommitCallbacks(TestCase):
    def setUp(self):
        self.ran = []

    async def note(self):
        await asyncio.sleep(0)
        self.ran.append(f"async, {await Author.objects.acount()} authors")

    def note_sync(self):
        self.ran.append(f"sync, {Author.objects.count()} authors")

    async def write(self):
        async with transaction.atomic():
            await make("Ann")
            transaction.on_commit(self.note)
            transaction.on_commit(self.note_sync)
        self.assertEqual(self.ran, [])

    async def test_are_captured_in_an_async_test(self):
        with self.captureOnCommitCallbacks() as callbacks:
            await self.write()
        self.assertEqual(len(callbacks), 2)
        self.assertEqual(self.ran, [])
        for callback in callbacks:
            callback()
        self.assertEqual(self.ran, ["async, 1 authors", "sync, 1 authors"])

    async def test_are_executed_in_an_async_test(self):
        with self.captureOnCommitCallbacks(execute=True):
            await self.write()
        self.assertEqual(self.ran, ["async, 1 authors", "sync, 1 authors"])

    def test_are_executed_in_a_sync_test(self):
        with self.captureOnCommitCallbacks(execute=True):
            asgiref.sync.async_to_sync(self.write)()
        self.assertEqual(self.ran, ["async, 1 authors", "sync, 1 authors"])

    async def test_of_tasks_and_threads_are_captured(self):
        def in_a_thread():
            with transaction.atomic():
                transaction.on_commit(self.note_sync)

        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            await asyncio.gather(self.write_none(), asyncio.to_thread(in_a_thread))
        self.assertEqual(len(callbacks), 2)
        self.assertEqual(sorted(self.ran), ["async, 0 authors", "sync, 0 authors"])

    async def write_none(self):
        async with transaction.atomic():
            transaction.on_commit(self.note)

    async def test_of_a_block_that_is_rolled_back_are_none(self):
        with (
            self.captureOnCommitCallbacks(execute=True) as callbacks,
            self.assertRaises(ZeroDivisionError),
        ):
            async with transaction.atomic():
                transaction.on_commit(self.note)
                raise ZeroDivisionError
        self.assertEqual((callbacks, self.ran), ([], []))

    async def test_that_register_another_are_followed(self):
        async def second():
            self.ran.append("second")

        async def first():
            async with transaction.atomic():
                transaction.on_commit(second)

        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            transaction.on_commit(first)
        self.assertEqual((len(callbacks), self.ran), (2, ["second"]))

    async def test_of_views_are_captured(self):
        views.sent.clear()
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            await self.async_client.get("/add/", {"name": "a"})
            await self.async_client.get("/add-sync/", {"name": "b"})
            await asgi_get("/add/", name="c")
            await asgi_get("/add-sync/", name="d")
        self.assertEqual((len(callbacks), views.sent), (4, ["a", "b", "c", "d"]))


class Queries(TestCase):
    async def test_of_tasks_and_threads_are_counted(self):
        with self.assertNumQueries(7):
            await anames()
            await asyncio.gather(anames(), anames())
            await asyncio.to_thread(names)
            await asgiref.sync.sync_to_async(names)()
            await asgiref.sync.sync_to_async(names, thread_sensitive=False)()
            await asyncio.create_task(anames())

    def test_of_a_sync_test_are_counted(self):
        with self.assertNumQueries(2):
            names()
            asgiref.sync.async_to_sync(anames)()
        self.assertNumQueries(1, names)

    async def test_of_requests_are_counted(self):
        with self.assertNumQueries(4):
            await self.async_client.get("/authors/")
            await self.async_client.get("/authors-sync/")
            await asgi_get("/authors/")
            await asgi_get("/authors-sync/")

    async def test_are_captured_with_their_text(self):
        with CaptureQueriesContext(connection) as captured:
            await asyncio.gather(anames(), make("Ann"))
        verbs = sorted(query["sql"].split()[0] for query in captured)
        self.assertEqual(verbs, ["INSERT", "SELECT"])

    async def test_that_are_too_many_fail(self):
        with (
            self.assertRaisesRegex(AssertionError, "2 queries executed, 1 expected"),
            self.assertNumQueries(1),
        ):
            await asyncio.gather(anames(), anames())

    async def test_of_another_task_that_was_there_before_are_seen_in_the_one_transaction(self):
        go = asyncio.Event()

        async def query():
            await anames()
            await go.wait()
            await anames()

        task = asyncio.create_task(query())
        await asyncio.sleep(0)
        with self.assertNumQueries(1):
            go.set()
            await task


class TwoDatabases(TestCase):
    databases = {"default", "other"}

    async def rows(self):
        self.assertEqual(await asyncio.gather(anames(), anames("other")), [[], []])
        await make("default")
        await make("other", using="other")
        async with transaction.atomic(using="other"), transaction.atomic():
            seen = await asyncio.gather(
                asyncio.to_thread(names), asyncio.to_thread(names, "other")
            )
        self.assertEqual(seen, [["default"], ["other"]])

    async def test_have_a_transaction_each(self):
        await self.rows()

    async def test_are_rolled_back_both(self):
        await self.rows()

    async def test_have_callbacks_and_counts_of_their_own(self):
        ran = []
        with self.assertNumQueries(1), self.assertNumQueries(2, using="other"):
            await asyncio.gather(anames(), anames("other"), anames("other"))
        with self.captureOnCommitCallbacks(using="other", execute=True) as callbacks:
            async with transaction.atomic(), transaction.atomic(using="other"):
                transaction.on_commit(lambda: ran.append("other"), using="other")
                transaction.on_commit(lambda: ran.append("default"))
        self.assertEqual((len(callbacks), ran), (1, ["other"]))


class Refused(TestCase):
    """A database that the class does not name is refused wherever it is asked for."""

    async def test_in_an_async_test(self):
        with self.assertRaises(DatabaseOperationForbidden):
            await anames("other")
        with self.assertRaises(DatabaseOperationForbidden):
            await asyncio.create_task(anames("other"))
        with self.assertRaises(DatabaseOperationForbidden):
            await asyncio.to_thread(names, "other")

    def test_in_a_sync_test(self):
        with self.assertRaises(DatabaseOperationForbidden):
            names("other")
        with self.assertRaises(DatabaseOperationForbidden):
            asgiref.sync.async_to_sync(anames)("other")


class NoDatabase(SimpleTestCase):
    async def test_is_refused_in_an_async_test(self):
        with self.assertRaises(DatabaseOperationForbidden):
            await anames()
        with self.assertRaises(DatabaseOperationForbidden):
            await asyncio.gather(anames())
        with self.assertRaises(DatabaseOperationForbidden):
            async with transaction.atomic():
                await anames()

    def test_is_refused_in_a_sync_test(self):
        with self.assertRaises(DatabaseOperationForbidden):
            names()

    def test_is_refused_in_a_thread(self):
        def refused():
            try:
                return names()
            except DatabaseOperationForbidden:
                return "refused"

        self.assertEqual(in_plain_thread(refused), "refused")


class Settings(TestCase):
    async def test_onloop_s_can_be_overridden(self):
        with override_settings(ONLOOP={"SYNC_VIEWS": "loop"}):
            self.assertEqual((await asgi_get("/authors-sync/")).json(), {"names": []})

    async def test_databases_overridden_have_no_effect_and_do_no_harm(self):
        with self.assertWarnsRegex(UserWarning, "DATABASES"):
            override = override_settings(DATABASES={})
            override.enable()
        try:
            await make("Ann")
            self.assertEqual(
                await asyncio.gather(anames(), asyncio.to_thread(names)), [["Ann"]] * 2
            )
        finally:
            override.disable()


@tag("failing")
class Failing1(TestCase):
    """These go wrong, each in its way; what follows finds nothing of it."""

    async def test_1_that_fails(self):
        await make("left behind")
        self.fail("as it should")

    async def test_2_that_errs_inside_a_block(self):
        async with transaction.atomic():
            await make("left behind")
            raise ZeroDivisionError

    async def test_3_that_is_cancelled(self):
        await make("left behind")
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    async def test_4_that_times_out_in_a_query(self):
        await make("left behind")
        async with asyncio.timeout(0.1):
            if on_postgresql():
                slow_query()
            await asyncio.sleep(30)

    async def test_5_whose_tasks_err_in_blocks(self):
        async def work(n):
            async with transaction.atomic():
                await make(str(n))
                await asyncio.sleep(0)
                raise ZeroDivisionError

        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(work(n))

    async def test_6_that_breaks_a_constraint(self):
        await make("left behind")
        await make("left behind")

    async def test_7_that_leaves_a_block_open(self):
        await transaction.atomic().__aenter__()
        await make("left behind")
        self.fail("as it should")

    async def test_8_finds_nothing(self):
        self.assertEqual(await anames(), [])
        self.assertEqual(await asyncio.to_thread(names), [])
        self.assertEqual(len(connection.atomic_blocks), 2)


@tag("failing")
class Failing2(TestCase):
    @classmethod
    def setUpTestData(cls):
        Author.objects.create(name="left behind")
        asgiref.sync.async_to_sync(make)("left behind")

    def test_never_runs(self):
        raise AssertionError


class Failing3(TestCase):
    def test_finds_nothing(self):
        self.assertEqual(names(), [])
        self.assertEqual(asgiref.sync.async_to_sync(anames)(), [])
