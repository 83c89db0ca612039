"""Hears of all processes of the service, while somebody looks.

Each process listens at the channel layer for good, which costs it nothing. A process that
somebody looks at asks all of them, itself first, every ``ASK_EVERY_S`` seconds; each answers at
most that often, however many ask, and everybody hears the answers. Nothing is stored: who is
killed is not heard of any more, who is new answers the next time, and with nobody who looks
there is silence.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

from channels.layers import get_channel_layer
from django.db import DatabaseError
from django.db.models import Count

import onloop
from onloop import metrics
from onloop.tasks.models import Job
from operations.board import Board
from operations.samples import VERSION, Sample, take

logger = logging.getLogger(__name__)

GROUP = "operations"
ASK_EVERY_S = 2.0
# Who has answered within this does not answer again: several may ask.
NOT_AGAIN_S = 0.75 * ASK_EVERY_S
# How long the layer, and the database, are waited for.
LAYER_S = DATABASE_S = 1.0
# How long a page waits for other processes to answer.
ANSWERS_S = 0.3
# Between two attempts to reach a layer that is away.
AGAIN_S = 5.0


class Viewer:
    """Somebody who looks. Who is slow misses what has been, and gets what is."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def tell(self) -> None:
        self._news.set()

    async def get(self) -> dict[str, Any]:
        """Wait for news; a message for a consumer."""
        await self._news.wait()
        self._news.clear()
        return {"type": "operations.news"}


class Station:
    """What one event loop knows. It listens while in use, and asks while watched."""

    def __init__(self) -> None:
        self.board = Board()
        self.samples = 0  # how many were taken here
        # By status, in the whole service; None where the database does not say.
        self.jobs: dict[str, int] | None = None
        self._key = secrets.token_hex(8)
        self._name = metrics.name_of_process()
        self._layer: Any = get_channel_layer()
        self._users = 0
        self._viewers: set[Viewer] = set()
        self._taken_at = float("-inf")
        self._listening: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    # --- who uses it --------------------------------------------------------------------------

    def enter(self) -> None:
        self._users += 1
        if self._listening is None or self._listening.done():
            self._listening = _start(self._listen())

    def leave(self) -> asyncio.Task[None] | None:
        """Returns what ends by that, for who wants to wait for it."""
        self._users -= 1
        listening = self._listening
        if self._users or listening is None:
            return None
        listening.cancel()
        self._listening = None
        return listening

    def watch(self, viewer: Viewer) -> None:
        """Tell ``viewer`` of news until ``unwatch``."""
        self.enter()
        self._viewers.add(viewer)
        if self._asking is None or self._asking.done():
            self._asking = _start(self._ask())

    def unwatch(self, viewer: Viewer) -> None:
        """Harmless if it was done before."""
        if viewer not in self._viewers:
            return
        self._viewers.discard(viewer)
        if not self._viewers and self._asking is not None:
            self._asking.cancel()
            self._asking = None
        self.leave()

    async def look(self) -> Any:
        """What a page shows at once; others have ``ANSWERS_S`` seconds to answer."""
        is_known = self._asking is not None
        viewer = Viewer()
        self.watch(viewer)
        try:
            if not is_known:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAYER_S + DATABASE_S):
                        await viewer.get()
                await asyncio.sleep(ANSWERS_S)
            return self.view()
        finally:
            self.unwatch(viewer)

    def view(self) -> Any:
        return self.board.view(jobs=self.jobs)

    # --- asking -------------------------------------------------------------------------------

    async def _ask(self) -> None:
        while True:
            try:
                await self._ask_once()
            except Exception:
                logger.exception("The operations page is behind.")
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask_once(self) -> None:
        sample = self._take_if_due()
        await self._send("operations.ask", sample)
        self.jobs = await _count_jobs()
        self._tell()

    def _take_if_due(self) -> Sample | None:
        now = time.monotonic()
        if now - self._taken_at < NOT_AGAIN_S:
            return None
        self._taken_at = now
        self.samples += 1
        sample = take()
        self.board.hear(sample)
        return sample

    async def _send(self, kind: str, sample: Sample | None) -> None:
        message = {"type": kind, "by": self._key, "sample": sample}
        try:
            async with asyncio.timeout(LAYER_S):
                await self._layer.group_send(GROUP, message)
        except Exception as error:  # noqa: BLE001 - whatever a layer raises
            logger.warning("Other processes are not seen: the channel layer fails: %r", error)

    def _tell(self) -> None:
        for viewer in self._viewers:
            viewer.tell()

    # --- listening ----------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                channel = await self._layer.new_channel()
                try:
                    await self._layer.group_add(GROUP, channel)
                    while True:
                        await self._hear(await self._layer.receive(channel))
                finally:
                    with contextlib.suppress(Exception):
                        async with asyncio.timeout(LAYER_S):
                            await self._layer.group_discard(GROUP, channel)
            except Exception as error:  # noqa: BLE001 - whatever a layer raises
                logger.warning("Not heard at the channel layer, for a while: %r", error)
                await asyncio.sleep(AGAIN_S)

    async def _hear(self, message: dict[str, Any]) -> None:
        if message["by"] == self._key:
            return
        sample = message["sample"]
        # Another version's has other numbers; that process is shown when it is replaced.
        if sample is not None and sample.get("version") == VERSION:
            self.board.hear(sample)
            self._tell()
        if message["type"] == "operations.ask":
            sample = self._take_if_due()
            if sample is not None:
                await self._send("operations.sample", sample)


async def _count_jobs() -> dict[str, int] | None:
    try:
        async with asyncio.timeout(DATABASE_S), onloop.scope():
            # What is lost was running in a process that was killed.
            going = Job.objects.filter(status__in=("READY", "RUNNING"))
            going = going.exclude(pk__in=Job.objects.lost().values("pk"))
            counted = going.values("status")
            found = {
                row["status"]: row["many"]
                async for row in counted.annotate(many=Count("pk")).order_by()
            }
    except (DatabaseError, TimeoutError):
        return None
    return {"READY": 0, "RUNNING": 0} | found


def _start(work: Any) -> asyncio.Task[None]:
    # In a context of its own: it is no part of the request or socket that was first.
    return asyncio.get_running_loop().create_task(work, context=Context())


_stations: dict[asyncio.AbstractEventLoop, Station] = {}


def station() -> Station:
    """That of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _stations:
        for closed in [other for other in _stations if other.is_closed()]:
            del _stations[closed]
        _stations[loop] = Station()
    return _stations[loop]


@asynccontextmanager
async def listening() -> AsyncIterator[None]:
    """For ``ONLOOP["LIFESPAN"]``: this process is seen, whoever looks and wherever.

    Without a lifespan a process is seen only by those who look at it.
    """
    await asyncio.to_thread(get_channel_layer)  # its modules are read, which takes a while
    mine = station()
    mine.enter()
    try:
        yield
    finally:
        if ending := mine.leave():
            await asyncio.wait([ending], timeout=2 * LAYER_S)
