"""R1: each scenario cancelled once and twice at each of its waits.

After every run all connections are back in their pools, PostgreSQL reports no idle transaction
and no lock, no task and no bridge is left, and the next query works. Each scenario has a check.

The rule for a transaction: **it is committed if and only if its block was left without an
exception.** A cancellation inside the block rolls it back. One that comes while BEGIN, COMMIT,
ROLLBACK or a savepoint's statement is under way is raised when that is done, so the caller may
see `CancelledError` for something that was committed; its `on_commit` callbacks then have been
called, and say so. This is the full form: four runs for each wait.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from django.db import connection, transaction

import onloop
from onloop import bridge
from onloop.db import pools
from onloop.db.pool import Pool
from onloop.testing import LeakLedger, Outcome
from tests.holding import Holder, alias_with_one_connection, connection_of
from tests.project.library.models import Author
from tests.reliability.findings import Findings, Found, judged
from tests.reliability.scale import RULE_S


@pytest.fixture
def swept(request, db_clean, cancel_sweep, tmp_path):
    """`await swept(scenario, check=…, prepare=…)`: a sweep that looks for leaks each time."""

    async def swept(scenario, *, check=None, prepare=None, patience_s=RULE_S):
        await Author.objects.acount()  # the pool is there, and has a connection
        ledger = LeakLedger(timeout_s=patience_s, temp_folder=tmp_path, databases=["default"])

        async def before():
            if prepare is not None:
                await prepare()
            if not ledger.started:
                ledger.start()

        async def after(outcome: Outcome):
            if check is not None:
                await check(outcome)
            await ledger.averify()
            for pool in pools.pools_of(asyncio.get_running_loop()):
                stats = pool.stats()
                assert stats["pool_size"] == stats["pool_available"], stats
            await Author.objects.acount()

        findings = Findings(f"R1, {request.node.originalname}")
        return await judged(cancel_sweep(scenario, prepare=before, check=after), findings)

    return swept


@pytest.fixture
def single(db_clean):
    with alias_with_one_connection() as alias:
        yield alias


async def names():
    return {name async for name in Author.objects.values_list("name", flat=True)}


async def remove_all():
    await Author.objects.all().adelete()


class Story:
    """What a transaction's block and its callbacks have come to, in one run."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.left_whole = False
        self.hooks = []

    async def prepare(self):
        self.clear()
        await remove_all()


# --- queries ----------------------------------------------------------------------------------


async def test_a_query(swept):
    await Author.objects.acreate(name="a")

    async def scenario():
        assert await Author.objects.acount() == 1

    await swept(scenario)


async def test_queries_in_a_scope(swept):
    await Author.objects.acreate(name="a")

    def work():
        assert [author.name for author in Author.objects.all()] == ["a"]
        Author.objects.update(name="a")

    async def scenario():
        async with onloop.scope():
            await bridge.run(work)
            assert await Author.objects.filter(name="a").aexists()

    await swept(scenario)


async def test_a_query_for_which_a_connection_must_be_opened(swept):
    async def empty_the_pool():
        pools.close_pools(asyncio.get_running_loop())

    async def scenario():
        await Author.objects.acount()

    sweep = await swept(scenario, prepare=empty_the_pool)
    if connection.vendor == "postgresql":
        assert any("connect" in outcome.where for outcome in sweep.outcomes)


@pytest.mark.only_on("postgresql")
async def test_a_server_side_cursor(swept):
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(30))

    async def scenario():
        count = 0
        async for _ in Author.objects.aiterator(chunk_size=10):
            count += 1
        assert count == 30

    sweep = await swept(scenario)
    assert sweep.waits >= 4  # DECLARE, and three times FETCH


@pytest.mark.only_on("postgresql")
async def test_a_server_side_cursor_in_a_transaction(swept):
    await Author.objects.abulk_create(Author(name=str(n)) for n in range(20))

    async def scenario():
        async with transaction.atomic():
            async for author in Author.objects.aiterator(chunk_size=10):
                if author.name == "15":
                    break

    await swept(scenario)


# --- transactions -----------------------------------------------------------------------------


async def test_a_transaction(swept):
    story = Story()

    async def scenario():
        async with transaction.atomic():
            await Author.objects.acreate(name="a")
            transaction.on_commit(lambda: story.hooks.append("called"))
            story.left_whole = True

    async def check(outcome):
        assert await names() == ({"a"} if story.left_whole else set())
        assert story.hooks == (["called"] if story.left_whole else [])

    await swept(scenario, prepare=story.prepare, check=check)


async def test_a_transaction_of_synchronous_code(swept):
    story = Story()

    def work():
        with transaction.atomic():
            Author.objects.create(name="a")
            Author.objects.filter(name="a").update(name="b")
            story.left_whole = True

    async def scenario():
        await bridge.run(work)

    async def check(outcome):
        assert await names() == ({"b"} if story.left_whole else set())

    await swept(scenario, prepare=story.prepare, check=check)


async def test_a_transaction_that_is_rolled_back(swept):
    async def scenario():
        with contextlib.suppress(LookupError):
            async with transaction.atomic():
                await Author.objects.acreate(name="a")
                raise LookupError

    async def check(outcome):
        assert await names() == set()

    await swept(scenario, prepare=remove_all, check=check)


async def test_savepoints(swept):
    story = Story()

    async def scenario():
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            async with transaction.atomic():
                await Author.objects.acreate(name="kept")
                transaction.on_commit(lambda: story.hooks.append("kept"))
            with contextlib.suppress(LookupError):
                async with transaction.atomic():
                    await Author.objects.acreate(name="undone")
                    transaction.on_commit(lambda: story.hooks.append("undone"))
                    raise LookupError
            story.left_whole = True

    async def check(outcome):
        assert await names() == ({"outer", "kept"} if story.left_whole else set())
        assert story.hooks == (["kept"] if story.left_whole else [])

    await swept(scenario, prepare=story.prepare, check=check)


async def test_a_transaction_with_a_statement_whose_time_out_is_caught(swept):
    """A cancellation from within, put into an inner block, beside the one from outside."""
    story = Story()

    async def scenario():
        async with transaction.atomic():
            await Author.objects.acreate(name="outer")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as limit, transaction.atomic():
                    await Author.objects.acreate(name="inner")
                    limit.reschedule(0)
                    await asyncio.get_running_loop().create_future()
            story.left_whole = True

    async def check(outcome):
        assert await names() == ({"outer"} if story.left_whole else set())

    await swept(scenario, prepare=story.prepare, check=check)


async def test_tasks_that_share_a_transaction(swept):
    story = Story()

    async def scenario():
        async with transaction.atomic():
            async with asyncio.TaskGroup() as group:
                for name in "ab":
                    group.create_task(Author.objects.acreate(name=name))
                await Author.objects.acreate(name="c")
            story.left_whole = True

    async def check(outcome):
        assert await names() == (set("abc") if story.left_whole else set())

    await swept(scenario, prepare=story.prepare, check=check)


async def test_an_async_callback_of_on_commit(swept):
    story = Story()

    async def callback():
        story.hooks.append("begun")
        await Author.objects.acreate(name="by the callback")
        story.hooks.append("ended")

    async def scenario():
        async with transaction.atomic():
            await Author.objects.acreate(name="a")
            transaction.on_commit(callback)
            story.left_whole = True

    async def check(outcome):
        found = await names()
        assert ("a" in found) == story.left_whole
        assert ("begun" in story.hooks) == story.left_whole
        if "ended" in story.hooks:
            assert "by the callback" in found
        if not outcome.cancelled:
            assert story.hooks == ["begun", "ended"]

    await swept(scenario, prepare=story.prepare, check=check)


# --- waiting for others -----------------------------------------------------------------------


async def test_waiting_for_a_connection(swept, single):
    holder = Holder(lambda: connection_of(single))

    async def prepare():
        await holder.begin()

    async def scenario():
        holder.let_go_soon()
        await Author.objects.using(single).acount()

    async def check(outcome):
        await holder.end()
        assert await Author.objects.using(single).acount() == 0

    sweep = await swept(scenario, prepare=prepare, check=check)
    assert any("get" in outcome.where for outcome in sweep.outcomes)


@pytest.mark.only_on("sqlite")
async def test_waiting_for_another_writer(swept):
    story = Story()
    holder = Holder(transaction.atomic)

    async def prepare():
        await story.prepare()
        await holder.begin()

    async def scenario():
        holder.let_go_soon()
        async with transaction.atomic():
            await Author.objects.acreate(name="a")
            story.left_whole = True

    async def check(outcome):
        await holder.end()
        assert await names() == ({"a"} if story.left_whole else set())

    sweep = await swept(scenario, prepare=prepare, check=check)
    assert sweep.waits >= 1


async def test_waiting_for_a_turn(swept):
    """A statement of the outer block waits while a task's inner block is open."""
    story = Story()

    async def inner(opened, go_on):
        async with transaction.atomic():
            await Author.objects.acreate(name="inner")
            opened.set()
            await go_on.wait()

    async def scenario():
        opened, go_on = asyncio.Event(), asyncio.Event()
        async with transaction.atomic():
            async with asyncio.TaskGroup() as group:
                group.create_task(inner(opened, go_on))
                await opened.wait()
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, go_on.set)
                await Author.objects.acreate(name="outer")
            story.left_whole = True

    async def check(outcome):
        assert await names() == ({"inner", "outer"} if story.left_whole else set())

    sweep = await swept(scenario, prepare=story.prepare, check=check)
    assert any("acquire" in outcome.where for outcome in sweep.outcomes)


# --- the harness finds what is broken on purpose ----------------------------------------------


async def test_a_cancel_that_is_swallowed_is_found(swept):
    async def scenario():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    with pytest.raises(Found) as caught:
        await swept(scenario)
    assert caught.value.kinds == {"CancelSwallowed": 1}


async def test_a_put_that_can_be_cancelled_is_found(swept, monkeypatch):
    put = Pool.put
    lost = []

    def waiting_put(self, connection):
        lost.append(connection)
        if bridge.active():
            bridge.await_(asyncio.sleep(0))
        put(self, connection)

    monkeypatch.setattr(Pool, "put", waiting_put)
    with pytest.raises(Found) as caught:
        await swept(Author.objects.acount, patience_s=0.2)
    assert caught.value.kinds == {"Leaked": 1}
    for each in lost:
        each.close()


@pytest.mark.only_on("postgresql")  # SQLite's COMMIT does not wait
async def test_a_commit_without_a_shield_is_found(swept, monkeypatch):
    monkeypatch.setattr(bridge.Shield, "of_caller", classmethod(lambda cls: None))
    with pytest.raises(Found) as caught:
        await test_a_transaction(swept)
    assert caught.value.kinds == {"AssertionError": 1}
