"""The leak ledger, for the database layer: pools, scopes, and what PostgreSQL itself says."""

import asyncio
import threading

import pytest
from django.db import connection, connections, transaction

import onloop
from onloop import bridge
from onloop.db.backends.sqlite3 import worker
from onloop.db.scope import Scope
from onloop.testing import Leaked, LeakLedger
from tests.database import APPLICATION_NAME
from tests.project.library.models import Author

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture
def ledger(tmp_path):
    return LeakLedger(timeout_s=0.0, temp_folder=tmp_path)


def kinds(caught):
    return {leak.kind for leak in caught.value.leaks}


def of_kind(caught, kind):
    return "\n".join(str(leak) for leak in caught.value.leaks if leak.kind == kind)


async def held_by_a_task(hold, ledger):
    """Have a task hold something until the ledger has complained; return the complaint."""
    holds, go_on = asyncio.Event(), asyncio.Event()

    async def holder():
        async with onloop.scope():
            await hold(holds, go_on)

    with pytest.raises(Leaked) as caught:
        async with ledger:
            task = asyncio.create_task(holder(), name="the holder")
            await holds.wait()
    go_on.set()
    await task
    return caught


# --- planted ----------------------------------------------------------------------------------


async def test_a_connection_that_is_kept_is_named_with_its_holder(ledger):
    async def hold(holds, go_on):
        await bridge.run(connection.ensure_connection)
        holds.set()
        await go_on.wait()

    caught = await held_by_a_task(hold, ledger)
    said = of_kind(caught, "connection")
    assert "1 of 10 connections of the pool 'default'" in said
    assert "the scope of 'the holder', for an explicit connect()" in said
    assert "'the holder' is not done" in of_kind(caught, "task")


async def test_a_connection_that_an_open_cursor_keeps_is_named(ledger):
    async def hold(holds, go_on):
        cursor = await bridge.run(connection.cursor)
        holds.set()
        await go_on.wait()
        await bridge.run(cursor.close)

    caught = await held_by_a_task(hold, ledger)
    assert "for 1 open cursors" in of_kind(caught, "connection")


async def test_a_transaction_that_is_open_is_named_by_the_pool(ledger):
    async def hold(holds, go_on):
        async with transaction.atomic():
            await Author.objects.acreate(name="a")
            holds.set()
            await go_on.wait()

    caught = await held_by_a_task(hold, ledger)
    assert "for an atomic block" in of_kind(caught, "connection")


@pytest.mark.only_on("postgresql")
async def test_a_transaction_that_is_open_is_named_as_the_server_sees_it(ledger):
    async def hold(holds, go_on):
        async with transaction.atomic():
            await Author.objects.acreate(name="a")
            holds.set()
            await go_on.wait()

    caught = await held_by_a_task(hold, ledger)
    assert {"transaction", "lock"} < kinds(caught)
    assert "is idle in transaction; its last statement: 'INSERT" in of_kind(
        caught, "transaction"
    )
    assert "holds RowExclusiveLock (relation library_author" in of_kind(caught, "lock")


@pytest.mark.only_on("postgresql")
async def test_a_transaction_of_this_very_task_is_named(ledger):
    with pytest.raises(Leaked) as caught:
        async with ledger:
            block = transaction.atomic()
            await block.__aenter__()
            await Author.objects.acreate(name="a")
    await block.__aexit__(None, None, None)
    assert {"connection", "transaction", "lock"} <= kinds(caught)


@pytest.mark.only_on("postgresql")
def test_a_raw_connection_is_named_as_a_session(ledger, db_clean):
    with pytest.raises(Leaked, match="is idle, and in no pool") as caught, ledger:
        raw = db_clean.connect(application_name=APPLICATION_NAME)
    raw.close()
    assert kinds(caught) == {"session", "descriptor"}


@pytest.mark.only_on("postgresql")
def test_a_session_of_another_application_is_not_ours(tmp_path, db_clean):
    with db_clean.connect(application_name="another") as raw:
        raw.execute("SELECT 1")
        with LeakLedger(timeout_s=0.0, temp_folder=tmp_path):
            raw.execute("SELECT pg_advisory_lock(7)")


@pytest.mark.only_on("postgresql")
def test_a_session_that_has_failed_in_a_transaction_is_named(ledger, db_clean):
    with pytest.raises(Leaked, match=r"is idle in transaction \(aborted\)"), ledger:
        raw = db_clean.connect(application_name=APPLICATION_NAME)
        raw.execute("BEGIN")
        with pytest.raises(Exception, match="division"):
            raw.execute("SELECT 1/0")
    raw.close()


@pytest.mark.only_on("postgresql")
async def test_a_lock_of_a_session_that_went_back_to_the_pool_is_named(ledger, db_clean):
    def lock():
        with connection.cursor() as cursor:
            cursor.execute("SELECT take_a_lock()")

    with db_clean.connect() as outsider:
        # Taken in a statement itself, the engine would see it and close the connection.
        outsider.execute(
            "CREATE FUNCTION take_a_lock() RETURNS void LANGUAGE sql AS"
            " 'SELECT pg_advisory_lock(42)'"
        )
        try:
            with pytest.raises(Leaked) as caught:
                async with ledger, onloop.scope():
                    await bridge.run(lock)
        finally:
            outsider.execute("DROP FUNCTION take_a_lock()")
    assert kinds(caught) == {"lock"}
    assert "holds ExclusiveLock (advisory 0:42)" in str(caught.value)


@pytest.mark.only_on("postgresql")
async def test_a_statement_that_goes_on_at_the_server_is_named(ledger, db_clean):
    raw = db_clean.connect(application_name=APPLICATION_NAME)
    raw.pgconn.send_query(b"SELECT pg_sleep(60)")
    raw.pgconn.flush()
    with pytest.raises(Leaked, match=r"a statement goes on running; .* pg_sleep"):
        async with ledger:
            raw.cancel_safe()
            raw.close()
            raw = db_clean.connect(application_name=APPLICATION_NAME)
            raw.pgconn.send_query(b"SELECT pg_sleep(60) /* left */")
            raw.pgconn.flush()
            while not db_clean.activity("left", state="active"):
                pass
    raw.cancel_safe()
    raw.close()


async def test_a_scope_that_is_not_ended_is_named(ledger):
    with pytest.raises(Leaked) as caught:
        async with ledger:
            left = Scope.begin()
            await Author.objects.acount()
    left.end()
    assert "a scope of 'Task-" in of_kind(caught, "scope")
    assert "['default']" in of_kind(caught, "scope")


@pytest.mark.only_on("postgresql")
def test_a_server_that_cannot_be_asked_is_no_clean_server(ledger):
    settings = connections.settings["default"]
    with pytest.raises(Leaked, match="'default' could not be asked") as caught, ledger:
        port, settings["PORT"] = settings["PORT"], "1"
    settings["PORT"] = port
    assert kinds(caught) == {"server"}


# --- not planted ------------------------------------------------------------------------------


async def test_clean_queries_transactions_and_scopes_are_not_complained_about(leak_ledger):
    async def query(name):
        async with transaction.atomic():
            await Author.objects.acreate(name=name)
        return await Author.objects.acount()

    async with onloop.scope():
        await asyncio.gather(*(query(f"in a scope {n}") for n in range(3)))
    await query("in this task")
    async for _ in Author.objects.all():
        pass


@pytest.mark.only_on("postgresql")  # a query of SQLite waits for nothing
async def test_a_query_that_is_cancelled_is_not_complained_about(leak_ledger, db_clean):
    task = asyncio.create_task(Author.objects.acount())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture
def no_worker_yet(monkeypatch):
    """The threads of SQLite's slow statements begin in the test, and end with it."""
    monkeypatch.setattr(worker, "_executor", None)
    yield
    worker.executor().shutdown()


@pytest.mark.usefixtures("no_worker_yet")
async def test_an_idle_thread_of_sqlite_s_slow_statements_is_no_leak(tmp_path):
    """How slow a statement is depends on the machine: that must not fail anybody's test."""
    async with LeakLedger(temp_folder=tmp_path):
        worker.executor().submit(int).result()


@pytest.mark.usefixtures("no_worker_yet")
async def test_a_busy_thread_of_sqlite_s_slow_statements_is_named(ledger):
    go_on, busy = threading.Event(), threading.Event()

    def statement():
        busy.set()
        go_on.wait()

    with pytest.raises(Leaked, match="in statement") as caught:
        async with ledger:
            worker.executor().submit(statement)
            busy.wait()
    assert kinds(caught) == {"thread"}
    go_on.set()


async def test_a_connection_that_this_task_holds_ends_with_it(leak_ledger):
    await bridge.run(connection.ensure_connection)


def test_the_connection_of_a_plain_thread_is_django_s_own_to_keep(leak_ledger):
    assert Author.objects.count() == 0


@pytest.mark.parametrize("begun", ["begun", "not begun"])
def test_a_transaction_around_the_test_is_not_the_test_s(tmp_path, begun):
    with transaction.atomic():
        if begun == "begun":
            Author.objects.create(name="a")
        with LeakLedger(timeout_s=0.0, temp_folder=tmp_path):
            # At the server, a transaction begins with its first statement.
            Author.objects.create(name="b")


@pytest.fixture
def in_a_test_case():
    """The transaction that `TestCase` and pytest-django's `db` put around a test."""
    block = transaction.atomic()
    block._from_testcase = True
    block.__enter__()
    yield
    transaction.set_rollback(True)
    block.__exit__(None, None, None)


async def test_the_transaction_of_a_test_case_is_not_the_test_s(in_a_test_case, leak_ledger):
    await Author.objects.acreate(name="a")
    assert await Author.objects.acount() == 1


async def test_what_a_proxy_and_the_pool_behind_it_hold_is_not_complained_about(
    fault_proxy, tmp_path
):
    with fault_proxy.in_front_of("default"):
        async with LeakLedger(temp_folder=tmp_path):
            await Author.objects.acount()
        assert len(fault_proxy.connections) == 1
