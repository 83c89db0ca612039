"""Engines that are broken on purpose: the tools find each, and say where.

Each part is taken out of Onloop for the duration of a test only.
"""

import asyncio

import pytest
from django.db import transaction

from onloop import bridge
from onloop.asgi import get_asgi_application
from onloop.db import pools
from onloop.db.pool import Pool
from onloop.db.scope import Scope
from onloop.testing import CancelSwallowed, Hung, Leaked, LeakLedger
from tests.asgi.client import Exchange
from tests.holding import Holder, alias_with_one_connection, connection_of
from tests.project.library.models import Author

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture
def ledger(tmp_path):
    # Not at once: PostgreSQL takes a moment to end what a cancelled `connect` has closed.
    return LeakLedger(timeout_s=2.0, temp_folder=tmp_path)


@pytest.fixture
def single():
    with alias_with_one_connection() as alias:
        yield alias


def swept_by(ledger):
    """A check for `cancel_sweep`: nothing has been left behind since the first run began."""

    async def prepare():
        if not ledger.started:
            await Author.objects.acount()
            ledger.start()

    async def check(outcome):
        await ledger.averify()

    return {"prepare": prepare, "check": check}


async def query():
    await Author.objects.acount()


async def test_a_pool_whose_put_can_be_cancelled_is_found(monkeypatch, cancel_sweep, ledger):
    put = Pool.put
    coming_back = []

    def waiting_put(self, connection):
        coming_back.append(connection)
        if bridge.active():
            bridge.await_(asyncio.sleep(0))
        put(self, connection)

    await cancel_sweep(query, **swept_by(ledger))
    monkeypatch.setattr(Pool, "put", waiting_put)
    with pytest.raises(Leaked, match="connections of the pool 'default'") as caught:
        await cancel_sweep(query, **swept_by(ledger))
    assert "held by: nobody that can be found" in str(caught.value)
    # The note says at which wait: in `put`.
    assert "in waiting_put" in caught.value.__notes__[0]
    coming_back[-1].close()


async def test_a_pool_that_loses_what_a_cancelled_waiter_was_given_is_found(
    monkeypatch, cancel_sweep, single
):
    """The cancel arrives between the hand-over and the waiter's next step."""
    lost = []
    monkeypatch.setattr(Pool, "_pass_on", lambda self, value: lost.append(value))
    holder = Holder(lambda: connection_of(single))

    async def scenario():
        holder.let_go_soon()
        await Author.objects.using(single).acount()

    async def check(outcome):
        await holder.end()
        (pool,) = [p for p in pools.pools_of(asyncio.get_running_loop()) if p.name == single]
        assert pool.stats()["pool_size"] == pool.stats()["pool_available"]

    options = {"prepare": holder.begin, "check": check}
    with pytest.raises(AssertionError) as caught:
        await cancel_sweep(scenario, moments=["answered"], **options)
    assert "cancelled at wait 0 (answered)" in caught.value.__notes__[0]
    lost[0].connection.close()


async def test_a_wrapper_that_tasks_share_is_found(monkeypatch, cancel_sweep):
    """Two tasks, one wrapper: the one waits for the other's transaction, and that for it."""

    async def scenario():
        begun = asyncio.Event()

        async def beside():
            await begun.wait()
            await Author.objects.acount()

        task = asyncio.create_task(beside())  # made outside: no part of the transaction
        async with transaction.atomic():
            await Author.objects.acount()
            begun.set()
            await task

    await scenario()
    one = Scope(asyncio.current_task())
    monkeypatch.setattr("onloop.db.scope.current_scope", lambda: one)
    with pytest.raises(Hung) as caught:
        await cancel_sweep(scenario, timeout_s=0.5)
    assert "await task" in str(caught.value)
    one.release()


async def test_a_handler_that_does_not_close_its_scope_is_found(monkeypatch, ledger):
    application = get_asgi_application()
    assert (await Exchange(application, "/books/")).status == 200
    async with ledger:
        assert (await Exchange(application, "/books/")).status == 200

    end = Scope.end
    left = []
    monkeypatch.setattr(Scope, "end", lambda self: left.append(self))  # noqa: PLW0108 - binds
    with pytest.raises(Leaked, match=r"a scope of 'server of .* has not been ended") as caught:
        async with ledger:
            await Exchange(application, "/books/")
    assert [leak.kind for leak in caught.value.leaks] == ["scope"]
    for scope in left:
        end(scope)


@pytest.mark.only_on("postgresql")
async def test_a_connection_that_swallows_a_cancel_is_found(monkeypatch, cancel_sweep):
    from onloop.db.backends.postgresql.connection import LoopConnection

    wait = LoopConnection.wait

    def forgiving(self, gen, *args, **kwargs):
        try:
            return wait(self, gen, *args, **kwargs)
        except asyncio.CancelledError:
            return []

    monkeypatch.setattr(LoopConnection, "wait", forgiving)
    with pytest.raises(CancelSwallowed):
        await cancel_sweep(query)
