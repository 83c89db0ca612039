"""The harness of R3: a cancel that lands while somebody is held at a named place.

Two kinds of races. At a **place**, the task that is cancelled is itself held, before or after a
function of the engine, and the cancellation arrives while it is. In a **hand-over**, one task
gives (a connection, leave to open one, the turn, the place of a writer) and another takes; the
taker is cancelled just before or just after it was given, in the same step of the giver.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

from django.db import connections, transaction

import onloop
from onloop import bridge
from onloop.testing import ForcedWindow
from onloop.testing.windows import Target
from onloop.waiting import Waiter
from tests.project.library.models import Author
from tests.reliability import scale
from tests.reliability.findings import Findings

# Shorter where a fault is planted.
HANG_S = scale.PATIENCE_S


# --- what is cancelled ------------------------------------------------------------------------


class Story:
    """What one run of a scenario says of itself."""

    def __init__(self) -> None:
        self.whole = False
        self.rows: set[str] = set()
        self.called: list[str] = []

    def row(self, name: str) -> str:
        self.rows.add(name)
        return name


def query(story: Story) -> None:
    Author.objects.count()


def commit(story: Story) -> None:
    with transaction.atomic():
        Author.objects.create(name=story.row("a"))
        transaction.on_commit(lambda: story.called.append("hook"))
        story.whole = True


def roll_back(story: Story) -> None:
    with contextlib.suppress(LookupError), transaction.atomic():
        Author.objects.create(name="undone")
        raise LookupError


def savepoint(story: Story) -> None:
    with transaction.atomic():
        Author.objects.create(name=story.row("outer"))
        with transaction.atomic():
            Author.objects.create(name=story.row("inner"))
            transaction.on_commit(lambda: story.called.append("hook"))
        with contextlib.suppress(LookupError), transaction.atomic():
            Author.objects.create(name="undone")
            transaction.on_commit(lambda: story.called.append("undone"))
            raise LookupError
        story.whole = True


async def in_bridge(work: Callable[[Story], None], story: Story) -> None:
    await bridge.run(work, story)


async def in_scope(work: Callable[[Story], None], story: Story) -> None:
    async with onloop.scope():
        await asyncio.create_task(bridge.run(work, story))


# --- held at a place --------------------------------------------------------------------------


async def cancel_at(
    findings: Findings,
    work: Callable[[Story], None],
    target: Target,
    *,
    after: bool,
    times: int = 1,
    around: Callable[..., Coroutine[Any, Any, None]] = in_bridge,
    neighbour: bool = False,
    empty_pool: bool = False,
) -> None:
    """Hold `work` at `target` and cancel it there; `neighbour`: while another one queues.

    `empty_pool`: a connection has to be opened.

    Adds to `findings` if the cancel is swallowed, if rows are there that were not committed (or
    the other way round), or if the neighbour does not get its turn.
    """
    story = Story()
    who = f"{work.__name__} {'after' if after else 'before'} {target}"
    await Author.objects.all().adelete()
    if empty_pool:  # the same pool, or what it has lost would be forgotten
        await (await Borrowed().begin()).throw_away()
    windows = ForcedWindow()
    victim = asyncio.create_task(around(work, story), name="victim")
    window = windows.at(target, before=not after, after=after, only=_of(victim))
    beside: asyncio.Task[int] | None = None
    try:
        with window:
            await window.reached()
            if neighbour:
                beside = asyncio.create_task(Author.objects.acount(), name="neighbour")
                for _ in range(5):
                    await asyncio.sleep(0)
            findings.counts["cancels"] += times
            for _ in range(times):
                victim.cancel()
                await asyncio.sleep(0)
            window.release()
            await _end(findings, who, victim)
            if beside is not None:
                await _end(findings, f"the neighbour of {who}", beside)
    finally:
        windows.close()
    findings.counts["windows"] += 1
    if not victim.cancelled():
        findings.add("cancel swallowed", f"{who}: {victim.exception()!r}")
    if beside is not None and (beside.cancelled() or beside.exception()):
        findings.add("neighbour disturbed", f"{who}: {beside!r}")
    await _check_rows(findings, who, story)


def _of(task: asyncio.Task[Any]) -> Callable[..., bool]:
    """Only calls that `task`, or a task that it has made, makes."""
    known = asyncio.all_tasks() - {task}
    return lambda *args, **kwargs: asyncio.current_task() not in known


async def _end(findings: Findings, who: str, task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task}, timeout=HANG_S)
    if not task.done():
        findings.add("hangs", who)
        task.cancel()
        await asyncio.wait({task}, timeout=HANG_S)


async def _check_rows(findings: Findings, who: str, story: Story) -> None:
    seen = {name async for name in Author.objects.values_list("name", flat=True)}
    expected = story.rows if story.whole else set()
    if seen != expected:
        findings.add("wrong rows", f"{who}: {sorted(seen)}, not {sorted(expected)}")
    if story.called != (["hook"] if expected else []):
        findings.add("callbacks of on_commit", f"{who}: {story.called}")


# --- handed over ------------------------------------------------------------------------------


@contextlib.contextmanager
def cancelled_as_it_is_given(
    taker: asyncio.Task[Any], *, first: str, times: int = 1
) -> Iterator[list[str]]:
    """Cancel `taker` in the very step in which something is handed to it.

    `first`: "cancel" or "hand-over". The list says what was handed over.
    """
    given: list[str] = []
    set_ = Waiter.set

    def cancel() -> None:
        for _ in range(times):
            taker.cancel()

    def watched(waiter: Waiter[Any], value: Any) -> None:
        if given:
            set_(waiter, value)
            return
        given.append(type(value).__name__)
        if first == "cancel":
            cancel()
        set_(waiter, value)
        if first == "hand-over":
            cancel()

    with mock.patch.object(Waiter, "set", watched):
        yield given


async def hand_over(
    findings: Findings,
    what: str,
    *,
    first: str,
    times: int,
    give: Callable[[], Awaitable[object]],
    take: Callable[[], Coroutine[Any, Any, Any]],
    waiting: Callable[[], bool],
    next_taker: bool,
) -> None:
    """Let `give` hand over to a task of `take`, which is cancelled then.

    `waiting()`: the taker stands in the queue. `next_taker`: another one stands behind it, and
    has to get what the first did not want.
    """
    who = f"{what}, {first} first, cancelled {times}x"
    taker = asyncio.create_task(take(), name="taker")
    await _until(waiting)
    behind = asyncio.create_task(take(), name="behind") if next_taker else None
    for _ in range(10):
        await asyncio.sleep(0)
    with cancelled_as_it_is_given(taker, first=first, times=times) as given:
        await give()
        await _end(findings, who, taker)
    findings.counts["hand-overs"] += 1
    findings.counts["cancels"] += times
    if not given:
        findings.add("nothing was handed over", who)
    if not taker.cancelled():
        findings.add("cancel swallowed", f"{who}: {taker.exception()!r}")
    if behind is not None:
        await _end(findings, f"{who}, who stood behind", behind)
        if behind.cancelled() or behind.exception():
            findings.add("neighbour disturbed", f"{who}: {behind!r}")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(scale.PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


class Borrowed:
    """The one connection of the pool, held by a scope until it is given back."""

    def __init__(self) -> None:
        self._go_on = asyncio.Event()
        self._inside = asyncio.Event()
        self._how: Callable[[Any], None] = _close
        self._task = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        async with onloop.scope():
            await bridge.run(connections["default"].ensure_connection)
            self._inside.set()
            await self._go_on.wait()
            await bridge.run(self._how, connections["default"])

    async def begin(self) -> Borrowed:
        """Raises `PoolTimeout` if there is none any more."""
        inside = asyncio.create_task(self._inside.wait())
        await asyncio.wait({inside, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            inside.cancel()
            self._task.result()
        return self

    async def give_back(self) -> None:
        self._go_on.set()
        await self._task

    async def throw_away(self) -> None:
        self._how = _throw_away
        await self.give_back()


def _close(wrapper: Any) -> None:
    wrapper.close()


def _throw_away(wrapper: Any) -> None:
    wrapper.set_autocommit(False)  # so that nobody else can use it
    wrapper.close()
