"""Pieces of work that are cancelled at random: each says what must be there afterwards.

The rule that all of them follow: **the rows are there if and only if the block was left without
an exception** (`Unit.whole`). Each work runs as a task of its own, in a task of a scope, and as
a view; `urlpatterns` stand at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.project.library.models import Author

FIXED = [f"fixed {n}" for n in range(6)]


class Unit:
    """One piece of work: what it wrote, how far it came, and what it saw that was wrong."""

    def __init__(self, number: int, work: str) -> None:
        self.number = number
        self.work = work
        self.whole = False
        self.written: set[str] = set()
        self.called: list[str] = []
        self.wrong: list[str] = []
        self._running = 0
        self._guard = threading.Lock()

    def row(self, part: str) -> str:
        """The name of a row that is there if the unit is whole."""
        name = f"{self.number}:{part}"
        self.written.add(name)
        return name

    def passing(self, part: str) -> str:
        """The name of a row that must never stay."""
        return f"{self.number}:{part}"

    def saw(self, what: str, seen: object, expected: object) -> None:
        if seen != expected:
            self.wrong.append(f"{what}: {seen!r}, not {expected!r}")

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Around what may go on after its task has ended: a thread, a child."""
        with self._guard:
            self._running += 1
        try:
            yield
        finally:
            with self._guard:
                self._running -= 1

    @property
    def running(self) -> bool:
        return self._running > 0

    def __str__(self) -> str:
        return f"unit {self.number} ({self.work})"


def fixed():
    return Author.objects.filter(name__startswith="fixed").order_by("name")


async def elsewhere():
    """Wait for something that is no database: there, SQLite's tasks can be cancelled too."""
    await asyncio.sleep(0)


# --- the works --------------------------------------------------------------------------------


async def queries(unit):
    unit.saw("count", await fixed().acount(), len(FIXED))
    await elsewhere()
    wanted = FIXED[unit.number % len(FIXED)]
    unit.saw("row", (await Author.objects.aget(name=wanted)).name, wanted)


async def commits(unit):
    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row("a"))
        await elsewhere()
        await Author.objects.acreate(name=unit.passing("x"))
        await Author.objects.filter(name=unit.passing("x")).aupdate(name=unit.row("b"))
        transaction.on_commit(lambda: unit.called.append("hook"))
        await elsewhere()
        unit.whole = True


async def rolls_back(unit):
    with contextlib.suppress(LookupError):
        async with transaction.atomic():
            await Author.objects.acreate(name=unit.passing("x"))
            await elsewhere()
            transaction.on_commit(lambda: unit.wrong.append("hook after a rollback"))
            raise LookupError


async def savepoints(unit):
    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row("outer"))
        async with transaction.atomic():
            await Author.objects.acreate(name=unit.row("inner"))
            await elsewhere()
        with contextlib.suppress(LookupError):
            async with transaction.atomic():
                await Author.objects.acreate(name=unit.passing("undone"))
                await elsewhere()
                raise LookupError
        unit.whole = True


async def breaks(unit):
    async for author in fixed().aiterator(chunk_size=2):
        await elsewhere()
        if author.name == FIXED[2]:
            break
    else:
        unit.wrong.append("a row is missing")


async def breaks_in_a_block(unit):
    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row("a"))
        async for _ in fixed().aiterator(chunk_size=2):
            await elsewhere()
            break
        unit.whole = True


async def gathers(unit):
    async def write(part):
        with unit.run():
            await elsewhere()
            await Author.objects.acreate(name=unit.row(part))

    async with transaction.atomic():
        await asyncio.gather(write("a"), write("b"), fixed().acount())
        unit.whole = True


async def gathers_blocks(unit):
    async def write(part):
        with unit.run():
            async with transaction.atomic():
                await Author.objects.acreate(name=unit.row(part))
                await elsewhere()

    async with transaction.atomic():
        await asyncio.gather(write("a"), write("b"))
        unit.whole = True


async def groups_blocks(unit):
    async def write(part):
        with unit.run():
            async with transaction.atomic():
                await Author.objects.acreate(name=unit.row(part))
                await elsewhere()

    async with transaction.atomic():
        async with asyncio.TaskGroup() as group:
            for part in "abc":
                group.create_task(write(part))
        unit.whole = True


async def hops(unit):
    def in_thread():
        with unit.run(), transaction.atomic():
            Author.objects.create(name=unit.row("thread"))

    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row("loop"))
        await sync_to_async(in_thread)()
        unit.saw("rows", await Author.objects.filter(name__in=unit.written).acount(), 2)
        unit.whole = True


async def times_out_inside(unit):
    """A time-out of its own, put into an inner block, beside the cancel from outside."""
    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row("outer"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0), transaction.atomic():
                await Author.objects.acreate(name=unit.passing("late"))
                await asyncio.get_running_loop().create_future()
        unit.whole = True


async def calls_back(unit):
    """An async callback of `on_commit`, which has a transaction of its own."""

    async def callback():
        unit.called.append("hook")
        await elsewhere()

    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row("a"))
        transaction.on_commit(callback)
        unit.whole = True


WORKS = {
    work.__name__: work
    for work in (
        queries,
        commits,
        rolls_back,
        savepoints,
        breaks,
        breaks_in_a_block,
        gathers,
        gathers_blocks,
        groups_blocks,
        hops,
        times_out_inside,
        calls_back,
    )
}
HOOKED = {"commits", "calls_back"}

# --- as views ---------------------------------------------------------------------------------

units: dict[int, Unit] = {}


async def view(request, number):
    unit = units[number]
    await WORKS[unit.work](unit)
    return HttpResponse(str(number))


def in_view_thread(request, number):
    unit = units[number]
    with unit.run():
        with transaction.atomic():
            Author.objects.create(name=unit.row("a"))
            with transaction.atomic():
                Author.objects.create(name=unit.row("b"))
            unit.whole = True
        return HttpResponse(str(number))


async def streams(request, number):
    unit = units[number]

    async def lines():
        with unit.run():
            async for author in fixed().aiterator(chunk_size=2):
                yield author.name
                if connection.vendor == "sqlite" or author.name != FIXED[1]:
                    continue  # who reads SQLite holds up writers, so it must not wait for them
                async with transaction.atomic():
                    await Author.objects.acreate(name=unit.passing(author.name))
                    transaction.set_rollback(True)

    return StreamingHttpResponse(lines())


def streams_sync(request, number):
    with units[number].run():
        rows = fixed().iterator(chunk_size=2)
        return StreamingHttpResponse(author.name for author in rows)


@csrf_exempt
async def uploads(request, number):
    unit = units[number]
    async with transaction.atomic():
        await Author.objects.acreate(name=unit.row(request.body.decode()[:20]))
        unit.whole = True
    return HttpResponse(str(number))


VIEWS_ONLY = {view.__name__: view for view in (in_view_thread, streams, streams_sync, uploads)}


urlpatterns = [
    path("work/<int:number>/", view),
    *(path(f"{name}/<int:number>/", each) for name, each in VIEWS_ONLY.items()),
]
