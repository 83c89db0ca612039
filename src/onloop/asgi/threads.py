"""The request's thread: for views and middleware that may block.

A request has one, as under Django's own handler, so that what a middleware notes in a
`threading.local` is there in the view. It is lent the request's scope while it works.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

from onloop import bridge
from onloop.bridge import await_
from onloop.db.scope import Scope, current_scope

Handler = Callable[..., Any]


async def call_in_thread(
    function: Callable[..., Any], request: HttpRequest, *args: Any, **kwargs: Any
) -> Any:
    """Call `function(request, ...)` in the request's thread, which is lent its scope.

    A thread cannot be cancelled. A request that is cancelled waits for it, however often it is
    told: its connections must not be taken away from the thread. Only what the thread reads of
    the body ends at once.
    """
    scope = current_scope()
    assert scope is not None
    call = _Call(scope, functools.partial(function, request, *args, **kwargs))
    try:
        return await sync_to_async(call.run, thread_sensitive=True)()
    except asyncio.CancelledError:
        abort = getattr(getattr(request, "_stream", None), "abort", None)
        if abort is not None:
            abort()
        if call.begun_or_called_off():
            await _whatever_comes(asyncio.wrap_future(call.done))
        raise


class _Call:
    """A call in a thread, of which can be said for certain whether it goes on."""

    def __init__(self, scope: Scope, function: Callable[[], Any]) -> None:
        self.done: Future[None] = Future()
        self._scope = scope
        self._function = function
        self._taken = threading.Lock()  # by whoever is first: the thread, or who calls it off

    def run(self) -> Any:
        if not self._taken.acquire(blocking=False):
            return None
        try:
            with self._scope.lend():
                return self._function()
        finally:
            self.done.set_result(None)

    def begun_or_called_off(self) -> bool:
        """Whether the thread has begun; if not, it never will."""
        return not self._taken.acquire(blocking=False)


async def thread_is_free() -> None:
    """Wait until the request's thread is done with what it does, however often cancelled.

    To be called at the end of a request, where a cancellation is on its way, which stands for
    all that come here.
    """
    threads = SyncToAsync.thread_sensitive_context.get(None)
    if threads is not None and threads in SyncToAsync.context_to_thread_executor:
        executor = SyncToAsync.context_to_thread_executor[threads]
        # What it does next is proof that it is done with what it did.
        await _whatever_comes(asyncio.wrap_future(executor.submit(_nothing)))


def _nothing() -> None:
    pass


async def _whatever_comes(done: asyncio.Future[None]) -> None:
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            pass


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let `function` be called in a bridge, and run in the request's thread."""

    @functools.wraps(function, updated=())
    def hopping(*args: Any) -> Any:
        return await_(call_in_thread(function, *args))

    if hasattr(function, "__self__"):
        hopping.__self__ = function.__self__  # type: ignore[attr-defined]
    return hopping


def from_thread(handler: Handler) -> Handler:
    """Let `handler` be called in the request's thread, and run on the loop, in a task.

    That is asgiref's way out of a thread: the task is cancelled with the request, and what
    needs the thread meanwhile is run by it while it waits.
    """

    async def on_loop(request: Any) -> Any:
        return await bridge.run(handler, request)

    return async_to_sync(on_loop)


def thread_middleware(factory: Callable[[Handler], Any], handler: Handler) -> tuple[Any, Any]:
    """Make a synchronous middleware of which all runs in the request's thread.

    Returns it, and the callable that stands for it in the chain. One that is `MiddlewareMixin`
    with nothing but hooks has what it is around run between them, not inside of the thread.
    """
    if (
        isinstance(factory, type)
        and issubclass(factory, MiddlewareMixin)
        and factory.__call__ is MiddlewareMixin.__call__
    ):
        middleware = factory(handler)
        return middleware, _between_hooks(middleware, handler)
    middleware = factory(from_thread(handler))
    return middleware, middleware if middleware is None else in_thread(middleware)


def _between_hooks(middleware: Any, handler: Handler) -> Handler:
    before = getattr(middleware, "process_request", None)
    after = getattr(middleware, "process_response", None)

    @functools.wraps(middleware, updated=())
    def call(request: Any) -> Any:
        response = before and await_(call_in_thread(before, request))
        response = response or handler(request)
        return await_(call_in_thread(after, request, response)) if after else response

    return call
