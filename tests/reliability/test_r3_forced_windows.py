"""R3: forced windows: the cancel lands while acquire, release, grow or commit waits on its
lock: 0 lost.

This is the full form. Each place (pool, opening, turn, writers' queue, BEGIN, COMMIT, ROLLBACK,
savepoints) holds a task before and after it, which is cancelled there once and twice, in a bare
bridge and in a task of a scope, while another task queues for the pool's only connection. Each
hand-over (a connection, leave to open one, the turn, a writer's place) is cancelled in both
orders: cancel first, hand-over first.
"""

import asyncio
import itertools

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings

import onloop
from onloop import bridge
from onloop.db import pools
from onloop.db.errors import PoolTimeout, TurnTimeout
from onloop.db.pool import Pool
from onloop.db.turn import Turn
from tests.project.library.models import Author
from tests.reliability import windows
from tests.reliability.findings import Findings, Found, TheRule, pool_of
from tests.reliability.scale import RULE_S

BASE = "django.db.backends.base.base.BaseDatabaseWrapper"
OURS = "onloop.db.backends.base.ScopedWrapper"

# What is held where: (the work, the function).
PLACES = {
    "acquire": (windows.query, "onloop.db.pool.Pool.get"),
    "acquire for a block": (windows.commit, "onloop.db.pool.Pool.get"),
    "release": (windows.query, "onloop.db.pool.Pool.put"),
    "release of a block": (windows.commit, f"{OURS}._hand_back"),
    "grow": (windows.query, f"{OURS}._open"),
    "grow for a block": (windows.commit, f"{OURS}._open"),
    "connect": (windows.query, f"{BASE}.init_connection_state"),
    "enter": (windows.commit, "onloop.db.transaction._enter_whole"),
    "leave": (windows.commit, "onloop.db.leaving._end_in_turn"),
    "commit": (windows.commit, f"{BASE}._commit"),
    "rollback": (windows.roll_back, f"{BASE}._rollback"),
    "savepoint": (windows.savepoint, f"{BASE}._savepoint"),
    "release of a savepoint": (windows.savepoint, f"{BASE}._savepoint_commit"),
    "rollback to a savepoint": (windows.savepoint, f"{BASE}._savepoint_rollback"),
    "taking the turn": (windows.savepoint, "onloop.db.turn.Turn.acquire"),
    "leaving the turn": (windows.savepoint, "onloop.db.turn.Turn.__exit__"),
    "closing a cursor": (windows.query, "onloop.db.backends.cursors.WatchedCursor.close"),
}
ON_SQLITE = {
    "taking a writer's place": (windows.commit, "onloop.waiting.FifoLock.acquire"),
    "leaving a writer's place": (windows.commit, "onloop.waiting.FifoLock.release"),
    "begin": (
        windows.commit,
        "onloop.db.backends.sqlite3.base.SQLiteMixin._start_transaction_under_autocommit",
    ),
}
NEEDS_AN_EMPTY_POOL = {"grow", "grow for a block", "connect"}


@pytest.fixture
def ruled(db_clean, tmp_path):
    """`async with ruled("what") as findings:` with a pool of one, the rule, the verdict."""

    class Ruled:
        def __init__(self, what, patience_s=RULE_S):
            self.findings = Findings(f"R3, {what}")
            self.pool = pool_of(1, timeout=4 * patience_s)
            self.rule = TheRule(self.findings, tmp_path, timeout_s=patience_s)

        async def __aenter__(self):
            self.pool.__enter__()
            await self.rule.__aenter__()
            return self.findings

        async def __aexit__(self, *exc):
            try:
                await self.rule.__aexit__(*exc)
            finally:
                self.pool.__exit__(*exc)
            if exc[0] is None:
                self.findings.judge()

    return Ruled


@pytest.mark.parametrize("place", [*PLACES, *ON_SQLITE])
async def test_a_task_that_is_cancelled_while_it_is_held_at(ruled, place):
    if place in ON_SQLITE and connection.vendor != "sqlite":
        pytest.skip("about SQLite only")
    async with ruled(place) as findings:
        await cancel_everywhere(findings, place)


async def cancel_everywhere(findings, place):
    """Adds "slot lost" if the pool has no connection to give any more."""
    work, target = {**PLACES, **ON_SQLITE}[place]
    ways = itertools.product(
        [False, True], [1, 2], [windows.in_bridge, windows.in_scope], [False, True]
    )
    for after, times, around, neighbour in ways:
        try:
            await windows.cancel_at(
                findings,
                work,
                target,
                after=after,
                times=times,
                around=around,
                neighbour=neighbour,
                empty_pool=place in NEEDS_AN_EMPTY_POOL,
            )
        except PoolTimeout as error:
            findings.add("slot lost", error)
            return


# --- hand-overs -------------------------------------------------------------------------------

ORDERS = list(itertools.product(["cancel", "hand-over"], [1, 2], [False, True]))


async def query_in_a_scope():
    async with onloop.scope():
        assert await Author.objects.acount() == 0


def waiting_for_the_pool():
    (pool,) = pools.pools_of(asyncio.get_running_loop())
    return pool.stats()["requests_waiting"] > 0


async def hand_over_connections(findings, *, thrown_away):
    what = "leave to open a connection" if thrown_away else "a connection"
    for first, times, next_taker in ORDERS:
        try:
            holder = await windows.Borrowed().begin()
        except PoolTimeout as error:
            findings.add("slot lost", error)
            return
        await windows.hand_over(
            findings,
            what,
            first=first,
            times=times,
            give=holder.throw_away if thrown_away else holder.give_back,
            take=query_in_a_scope,
            waiting=waiting_for_the_pool,
            next_taker=next_taker,
        )


async def test_who_is_cancelled_as_it_is_given_a_connection_passes_it_on(ruled):
    async with ruled("hand-over of a connection") as findings:
        await hand_over_connections(findings, thrown_away=False)


async def test_who_is_cancelled_as_it_is_given_leave_to_open_a_connection_passes_it_on(ruled):
    async with ruled("leave to open a connection") as findings:
        await hand_over_connections(findings, thrown_away=True)


async def hand_over_turns(findings):
    """A child of the block has an inner one open; others of the block wait for the turn."""
    for first, times, next_taker in ORDERS:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def inner(inside=inside, go_on=go_on):
            async with transaction.atomic():
                await Author.objects.acreate(name="inner")
                inside.set()
                await go_on.wait()

        async def take():
            assert await Author.objects.acount() == 1

        async with transaction.atomic():
            child = asyncio.create_task(inner())
            await inside.wait()
            turn = connections["default"].turn

            async def give(child=child, go_on=go_on):
                go_on.set()
                await child

            await windows.hand_over(
                findings,
                "the turn",
                first=first,
                times=times,
                give=give,
                take=take,
                waiting=lambda turn=turn: len(turn._waiting) > 0,
                next_taker=next_taker,
            )
        # Nothing of the block was interrupted: what it wrote is there.
        if await Author.objects.all().adelete() == (0, {}):
            findings.add("rows lost", f"the turn, {first} first")


async def test_who_is_cancelled_as_it_is_given_the_turn_passes_it_on(ruled):
    async with ruled("hand-over of the turn") as findings:
        await hand_over_turns(findings)


async def hand_over_places(findings):
    queue = await bridge.run(lambda: connection._writers)

    async def write():
        async with onloop.scope(), transaction.atomic():
            await Author.objects.acreate(name="written")
            transaction.set_rollback(True)

    for first, times, next_taker in ORDERS:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def hold(inside=inside, go_on=go_on):
            async with onloop.scope(), transaction.atomic():
                inside.set()
                await go_on.wait()

        holder = asyncio.create_task(hold())
        await inside.wait()

        async def give(holder=holder, go_on=go_on):
            go_on.set()
            await holder

        await windows.hand_over(
            findings,
            "a writer's place",
            first=first,
            times=times,
            give=give,
            take=write,
            waiting=lambda: len(queue._waiting) > 0,
            next_taker=next_taker,
        )


@pytest.mark.only_on("sqlite")
async def test_who_is_cancelled_as_it_is_given_a_writers_place_passes_it_on(ruled):
    async with ruled("hand-over of a writer's place") as findings:
        await hand_over_places(findings)


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def quick(ruled, monkeypatch):
    monkeypatch.setattr(windows, "HANG_S", 1)
    return lambda: ruled("with a fault", patience_s=0.5)


async def test_a_pool_that_loses_a_connection_with_its_receiver_is_found(quick, monkeypatch):
    lost = []
    monkeypatch.setattr(Pool, "_pass_on", lambda self, value: lost.append(value))
    with pytest.raises(Found) as caught:
        async with quick() as findings:
            await hand_over_connections(findings, thrown_away=False)
    assert caught.value.kinds["slot lost"]
    lost[0].connection.close()


async def test_a_pool_that_loses_leave_to_open_a_connection_is_found(quick, monkeypatch):
    monkeypatch.setattr(Pool, "_pass_on", lambda self, value: None)
    with pytest.raises(Found) as caught:
        async with quick() as findings:
            await hand_over_connections(findings, thrown_away=True)
    assert caught.value.kinds["slot lost"]


async def test_a_turn_that_a_cancelled_receiver_keeps_is_found(quick, monkeypatch):
    abandon = Turn._abandon

    def forgetful(self, queued):
        abandon(self, queued)
        return True  # it was never given: nothing to release

    monkeypatch.setattr(Turn, "_abandon", forgetful)
    findings = Findings("R3, with a fault")
    with override_settings(ONLOOP={"TURN_TIMEOUT": 0.5}):
        task = asyncio.create_task(hand_over_turns(findings))
        await asyncio.wait({task})
    assert isinstance(task.exception(), TurnTimeout)  # the block cannot be left any more
    findings.add("turn lost", task.exception())
    with pytest.raises(Found):
        findings.judge()


@pytest.mark.only_on("postgresql")  # SQLite's opening does not wait
async def test_a_slot_that_goes_with_a_cancelled_opening_is_found(quick, monkeypatch):
    open_ = Pool._open

    def forgetful(self, slot, opener):
        try:
            return open_(self, slot, opener)
        except asyncio.CancelledError:
            self._size += 1
            raise

    monkeypatch.setattr(Pool, "_open", forgetful)
    with pytest.raises(Found) as caught:
        async with quick() as findings:
            await cancel_everywhere(findings, "grow")
    assert caught.value.kinds["slot lost"]


@pytest.mark.only_on("postgresql")  # SQLite's COMMIT does not wait
async def test_a_commit_that_a_cancel_interrupts_is_found(quick, monkeypatch):
    monkeypatch.setattr(bridge.Shield, "of_caller", classmethod(lambda cls: None))
    with pytest.raises(Found) as caught:
        async with quick() as findings:
            await cancel_everywhere(findings, "commit")
    assert caught.value.kinds["callbacks of on_commit"]
