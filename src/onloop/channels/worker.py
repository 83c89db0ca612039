"""Channels' worker, made to end well: what `manage.py runworker` runs.

Each message is a unit of work already, since consumers run in `onloop.channels.consumers`. What
is added is what a server does for its project. The lifespan is served, so hooks run and pools
are opened and closed. A SIGTERM or a SIGINT lets the messages finish that are being handled,
and takes no other: those stay in the channel layer, for another worker. So a message is only
taken when the consumer of its channel has done with the one before; they come one after the
other in any case. And a consumer that fails is replaced at once, where Channels loses what
comes in the next tenth of a second.

This module needs Channels to be imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any

from channels.worker import Worker as ChannelsWorker

from onloop import conf
from onloop.asgi.lifespan import worker_lifespan
from onloop.channels.handshake import Message, Receive, Send

logger = logging.getLogger("onloop.channels")


class _Instance:
    """The running consumer of a channel, and how many messages it was given, and has taken."""

    def __init__(self) -> None:
        self.given = 0
        self.asked = 0
        self.taken = 0
        self.over = False
        self.changed = asyncio.Event()

    async def take(self, receive: Receive) -> Message:
        self.asked += 1
        self.changed.set()
        message = await receive()
        self.taken += 1
        return message

    def ends(self) -> None:
        self.over = True
        self.changed.set()

    async def handled(self) -> bool:
        """Wait until it has done with all that it was given; False if it did not take it."""
        # Whoever asks for one more than was given has done with those.
        while not self.over and self.asked <= self.given:
            self.changed.clear()
            await self.changed.wait()
        return self.taken >= self.given


class Worker(ChannelsWorker):
    """`Worker(application, channels, layer).run()`, until a SIGTERM or a SIGINT comes.

    A message that is being handled then has `ONLOOP["SOCKET_CLOSE_TIMEOUT"]` seconds, and is
    cancelled after them, or by a second signal: its transaction is rolled back.
    """

    def __init__(
        self, application: Any, channels: list[str], channel_layer: Any, **options: Any
    ) -> None:
        self._project = application
        self._instances: dict[str, _Instance] = {}
        self._receiving: set[asyncio.Task[Any]] = set()
        super().__init__(
            application=self._serve,
            channels=list(dict.fromkeys(channels)),
            channel_layer=channel_layer,
            **options,
        )

    def run(self) -> None:
        """The same in every version of asgiref; `arun` on a loop of its own."""
        with contextlib.suppress(KeyboardInterrupt):  # before `arun` listens to signals
            asyncio.run(self.arun())

    async def arun(self) -> None:
        """Work until a signal comes. Raises `StartFailed`, and what the layer raises."""
        self._main = asyncio.current_task()
        self._ending = asyncio.Event()
        self._urgent = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, self._end)
        try:
            async with worker_lifespan():
                await self.handle()
        except asyncio.CancelledError:
            if not self._urgent:
                raise

    def _end(self) -> None:
        if self._ending.is_set() and self._main is not None and not self._urgent:
            self._urgent = True
            self._main.cancel()
        self._ending.set()

    async def handle(self) -> None:
        """Listen on all channels; what a layer raises ends the worker."""
        listeners = [asyncio.create_task(self.listener(name)) for name in self.channels]
        watching = asyncio.create_task(self._ending.wait())
        checking = asyncio.create_task(self.application_checker())  # type: ignore[no-untyped-call]
        try:
            await asyncio.wait(
                [*listeners, watching, checking], return_when=asyncio.FIRST_COMPLETED
            )
            for task in (*listeners, checking):
                if task.done():
                    task.result()
            for task in self._receiving:
                task.cancel()
            timeout_s = conf.get().SOCKET_CLOSE_TIMEOUT
            _, left = await asyncio.wait(listeners, timeout=timeout_s)
            # Of the others a layer sees to it that no message is on its way.
            if busy := left - self._receiving:
                logger.warning(
                    "The worker ends, and cancels %d messages that have not ended within "
                    "ONLOOP['SOCKET_CLOSE_TIMEOUT'], %g s.",
                    len(busy),
                    timeout_s,
                )
        finally:
            consumers = [one["future"] for one in self.application_instances.values()]
            await _cancel([*listeners, watching, checking, *consumers])

    async def listener(self, channel: str) -> None:
        """Hand the messages of a channel to its consumer, one after the other."""
        task = asyncio.current_task()
        assert task is not None
        while not self._ending.is_set():
            self._receiving.add(task)
            try:
                message = await self.channel_layer.receive(channel)
            finally:
                self._receiving.discard(task)
            if not message.get("type"):
                logger.error("A message in channel %r has no type, and is dropped.", channel)
                continue
            # A consumer may have ended since, by a message of a group, say.
            if not await self._hand(channel, message):
                await self._hand(channel, message)

    async def _hand(self, channel: str, message: Message) -> bool:
        """Give a message to the consumer, and wait for it; False if it was not taken."""
        await self._reap(channel)
        scope = {"type": "channel", "channel": channel}
        instance = self._instances.setdefault(channel, _Instance())
        queue = self.get_or_create_application_instance(channel, scope)  # type: ignore[no-untyped-call]
        instance.given += 1
        queue.put_nowait(message)
        taken = await instance.handled()
        if instance.over:
            await asyncio.wait([self.application_instances[channel]["future"]])
            await self._reap(channel)
        return taken

    async def _reap(self, channel: str) -> None:
        """Forget a consumer that has ended, and log its error."""
        details = self.application_instances.get(channel)
        if details is not None and details["future"].done():
            del self.application_instances[channel]
            future = details["future"]
            if not future.cancelled() and (error := future.exception()) is not None:
                await self.application_exception(error, details)  # type: ignore[no-untyped-call]

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        """Run the project's application for a channel, and note what it asks for."""
        instance = self._instances[scope["channel"]]

        async def taking() -> Message:
            return await instance.take(receive)

        try:
            await self._project(scope, taking, send)
        finally:
            instance.ends()
            if self._instances.get(scope["channel"]) is instance:
                del self._instances[scope["channel"]]


async def _cancel(tasks: list[asyncio.Future[Any]]) -> None:
    """Cancel, and wait; again, since Python 3.11's `wait_for` may swallow a cancellation."""
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=0.5)
