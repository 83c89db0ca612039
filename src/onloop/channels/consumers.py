"""What Channels' consumers run in: a bridge and a scope for each message.

The two functions here stand for names of Channels in `onloop.rebind`. They must not import
Channels with this module: it need not be installed.
"""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import asgiref.sync
from django.db import close_old_connections

from onloop import bridge, taskfactory, watchdog
from onloop.asgi.admission import admission_of
from onloop.asgi.explain import explain
from onloop.asgi.places import function_runs_in_thread, place_of, session_runs_in_thread
from onloop.asgi.threads import call_in_thread
from onloop.asgi.unit import in_unit, in_unit_of
from onloop.bridge import await_
from onloop.channels.busy import Busy, of_socket
from onloop.db import node, scope

Message = dict[str, Any]


async def await_many_dispatch(
    consumer_callables: list[Callable[[], Awaitable[Message]]],
    dispatch: Callable[[Message], Awaitable[None]],
) -> None:
    """Stand for `channels.consumer.await_many_dispatch`: each message is a unit of work.

    Messages are waited for outside of any bridge and scope, so that a socket on which nothing
    happens holds neither. A consumer that overrides `dispatch` is served alike. Other than
    Channels' own, it takes a second cancellation for one, and leaves no task behind when
    waiting for a message fails.
    """
    scope.rest()  # what middleware asked the database for is over
    inbox = _Inbox(consumer_callables)
    busy = of_socket.get() or Busy(0)
    del consumer_callables
    try:
        while True:
            while inbox.messages:
                message = inbox.messages.pop(0)
                with watchdog.serving(explain), busy:
                    await inbox.handling(message, dispatch)
                message.handled()
                del message  # while this waits for the next
            await inbox.until_woken()
    finally:
        await inbox.end()


class _Came(NamedTuple):
    """A message, and what its source waits for before it is asked for the next one."""

    message: Message
    source: asyncio.Future[None]

    def handled(self) -> None:
        if not self.source.done():
            self.source.set_result(None)


class _Inbox:
    """Messages of several sources, in the order in which they come.

    Each source has a task for good, and is asked for its next message when the one before was
    handled: a task for each message takes twice the time.
    """

    __slots__ = ("_admission", "_loop", "_pumps", "_waiter", "messages")

    def __init__(self, sources: list[Callable[[], Awaitable[Message]]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._admission = admission_of(self._loop)
        self._waiter: asyncio.Future[None] | None = None
        # A list: it is empty most of the time, when a deque takes half a kilobyte, and never
        # has more than one message of each source.
        self.messages: list[_Came] = []
        # The first is the server's `receive`, others are those of layers.
        self._pumps = tuple(
            asyncio.ensure_future(self._fill(receive, of_layer=number > 0))
            for number, receive in enumerate(sources)
        )

    async def _fill(self, receive: Callable[[], Awaitable[Message]], *, of_layer: bool) -> None:
        """Put in what `receive` returns, until it raises."""
        try:
            while True:
                message = await receive()
                handled = self._loop.create_future()
                self.messages.append(_Came(message, handled))
                del message
                self._wake()
                try:
                    await handled
                except asyncio.CancelledError:
                    if of_layer:
                        await _forgo(receive)
                    raise
                del handled
        finally:
            self._wake()  # a callback of the task's would be kept for as long as the socket

    def handling(
        self, came: _Came, dispatch: Callable[[Message], Awaitable[None]]
    ) -> Coroutine[Any, Any, None]:
        """Let the consumer handle a message, as a unit of work."""
        return bridge.run(in_unit_of, self._admission, dispatch_message, dispatch, came.message)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def until_woken(self) -> asyncio.Future[None]:
        """A future that is done when there may be something new.

        Raises what a source has raised. Not a coroutine, of which each socket would keep one.
        """
        for pump in self._pumps:
            if pump.done():
                pump.result()
        self._waiter = self._loop.create_future()
        return self._waiter

    async def end(self) -> None:
        """Ask no source any more."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.wait(self._pumps)
        for pump in self._pumps:
            if not pump.cancelled():
                pump.exception()  # which is raised already, or belongs to nobody any more


async def _forgo(receive: Callable[[], Awaitable[Message]]) -> None:
    """Have a layer know that nobody reads from a channel any more.

    Layers learn that from a `receive` that is cancelled: they forget the channel then, or let
    it leave its groups after a time. A consumer that ends while it handles a message of its
    layer, or while one waits, does not stand in `receive`.
    """
    while True:
        asking = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        asking.cancel()  # which does nothing to one that had a message at hand
        await asyncio.wait([asking])
        if asking.cancelled() or asking.exception() is not None:
            return


def dispatch_message(dispatch: Callable[[Message], Awaitable[None]], message: Message) -> None:
    """Let the consumer handle one message. The watchdog knows this function's variables."""
    await_(dispatch(message))


def close_where_open(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Stand for `sync_to_async` in `channels.db`, which has one use for it.

    `aclose_old_connections` is called before each message. Its scope is new, and has none.
    """
    if function is close_old_connections and scope.is_untouched():
        return _nothing
    return functools.partial(bridge.run, function)


async def _nothing() -> None:
    pass


async def call_database_sync_to_async(self: Any, *args: Any, **kwargs: Any) -> Any:
    """`channels.db.DatabaseSyncToAsync.__call__`: on the loop, in the caller's scope.

    A caller without a scope (middleware, which Channels runs for as long as the socket lives)
    has one for this call. In a thread, which is lent the scope, run the handlers of synchronous
    consumers, what reads sessions that block, and what the settings send there.
    """
    if self._executor is not None or _has_thread_handler(self):
        return await asgiref.sync.SyncToAsync.__call__(self, *args, **kwargs)
    call = functools.partial(self.func, *args, **kwargs)
    if self.context is not None:
        call = functools.partial(self.context.run, call)
    if runs_in_thread(self.func, args):
        call = functools.partial(_hop, call)
    if taskfactory.bridge_tasks.get() or node.blocks():
        return await bridge.run(call)
    return await bridge.run(in_unit, call)


def _has_thread_handler(adapter: Any) -> bool:
    from channels.db import DatabaseSyncToAsync  # noqa: PLC0415

    return type(adapter).thread_handler is not DatabaseSyncToAsync.thread_handler


def _hop(call: Callable[[], Any]) -> Any:
    return await_(call_in_thread(lambda _: call(), None))  # type: ignore[arg-type]


def runs_in_thread(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Decide where what is wrapped by `database_sync_to_async` runs.

    Methods of a synchronous consumer, `dispatch` above all, run where a synchronous view would,
    by the consumer's class; anything else on the loop, unless the settings name it.
    """
    from channels.consumer import SyncConsumer  # noqa: PLC0415

    first = args[0] if args else None
    if isinstance(first, SyncConsumer):
        return place_of(types.MethodType(function, first)) == "thread"
    session = getattr(function, "__self__", None)  # `session.save`, say
    if function.__module__ == "channels.auth" and isinstance(first, dict):
        session = first.get("session")
    if session_runs_in_thread(getattr(session, "_wrapped", session)):
        return True
    return function_runs_in_thread(function)
