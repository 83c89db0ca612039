"""The lifespan of the server: start-up and shutdown of the project."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from onloop import bridge, conf, perloop
from onloop.asgi.admission import admission_of
from onloop.asgi.warm import frozen_heap
from onloop.db import pools
from onloop.db.backends.base import ScopedWrapper
from onloop.db.scope import Scope
from onloop.errors import OnloopError
from onloop.phase import enter_phase, phase_of

logger = logging.getLogger("onloop.asgi")

# Seconds that a shutdown waits for requests that the server has cancelled, or still serves.
REQUESTS_S = 5.0


class StartFailed(OnloopError):
    """A hook of `ONLOOP["LIFESPAN"]` failed when a worker started; the log has its error."""


_endings: list[Callable[[], Awaitable[None]]] = []


def before_hooks_end(ending: Callable[[], Awaitable[None]]) -> None:
    """Let each shutdown await `ending`: after the last request, before `LIFESPAN` is left.

    For parts of Onloop that have work under way on the loop. They bound their time themselves.
    """
    if ending not in _endings:
        _endings.append(ending)


async def serve_lifespan(
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve the ASGI lifespan protocol, in a scope and a bridge of its own."""
    await bridge.run(_serve, receive, send)


@asynccontextmanager
async def worker_lifespan() -> AsyncIterator[None]:
    """Serve the lifespan to a process that has no server: hooks, pools, what is warmed.

    Raises `StartFailed`.
    """
    incoming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    replies: asyncio.Queue[Any] = asyncio.Queue()
    serving = asyncio.create_task(serve_lifespan(incoming.get, replies.put))
    # Whatever becomes of it, nobody waits for a reply for ever.
    serving.add_done_callback(lambda _: replies.put_nowait({"type": "", "message": "it ended"}))
    incoming.put_nowait({"type": "lifespan.startup"})
    reply = await replies.get()
    if reply["type"] != "lifespan.startup.complete":
        await serving
        raise StartFailed(f"The worker could not start: {reply['message']}")
    try:
        yield
    finally:
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.wait([serving])
        serving.result()


def _serve(
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    scope = Scope.begin()
    stack = AsyncExitStack()
    heap = ExitStack()
    loop = asyncio.get_running_loop()
    try:
        while True:
            message = bridge.await_(receive())
            if message["type"] == "lifespan.startup":
                enter_phase(loop, "starting")
                reply = _attempt("startup", lambda: start(stack))
                if reply["type"] == "lifespan.startup.complete":
                    enter_phase(loop, "started")
                    heap.enter_context(frozen_heap())
            elif message["type"] == "lifespan.shutdown":
                enter_phase(loop, "stopping")
                reply = _attempt("shutdown", lambda: stop(stack))
            else:  # of a later version; a server may have any number of them at hand
                bridge.await_(asyncio.sleep(0))
                continue
            bridge.await_(send(reply))
            if reply["type"] != "lifespan.startup.complete":
                return
    except BaseException:  # cancelled: a server that gives up says no more
        first = phase_of(loop) != "stopping"
        enter_phase(loop, "stopping")
        stop(stack, wait=first)
        raise
    finally:
        heap.close()
        scope.end()


def _attempt(phase: str, step: Callable[[], None]) -> dict[str, Any]:
    try:
        step()
    except Exception as exc:
        logger.exception("The %s of the project failed.", phase)
        return {"type": f"lifespan.{phase}.failed", "message": f"{type(exc).__name__}: {exc}"}
    return {"type": f"lifespan.{phase}.complete"}


def start(stack: AsyncExitStack) -> None:
    """Enter what `ONLOOP["LIFESPAN"]` names, in order, and open the pools' first connections.

    A database that is not there does not keep the project from starting.
    """
    try:
        for path in conf.get().LIFESPAN:
            bridge.await_(stack.enter_async_context(_hook(path)))
    except BaseException:
        bridge.await_(stack.aclose())
        raise
    for alias in connections:
        wrapper = connections[alias]
        if isinstance(wrapper, ScopedWrapper) and wrapper.can_pool():
            try:
                wrapper.warm_pool()
            except Exception as exc:  # noqa: BLE001 - whatever is wrong with it
                logger.warning("The pool of %r starts empty: %s", alias, exc)


def _hook(path: str) -> AbstractAsyncContextManager[Any]:
    """Return what the function at `path` returns.

    Raises `ImproperlyConfigured` where there is none, or where it returns something else.
    """
    try:
        function = import_string(path)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f'ONLOOP["LIFESPAN"]: {path!r} cannot be imported. {exc}'
        ) from exc
    manager = function()
    if not hasattr(type(manager), "__aenter__"):
        if inspect.iscoroutine(manager):
            manager.close()
        raise ImproperlyConfigured(
            f'ONLOOP["LIFESPAN"]: {path}() must return an async context manager, not '
            f"{type(manager).__name__}. Write it as an `async def` that yields, with "
            "@contextlib.asynccontextmanager."
        )
    return manager  # type: ignore[no-any-return]


def stop(stack: AsyncExitStack, *, wait: bool = True) -> None:
    """Leave what `start` entered, in reverse order; close the loop's clients and its pools.

    With `wait`, requests end first, within `REQUESTS_S` seconds: uvicorn cancels those that
    take too long and says at once that this is the end, while they still roll back.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as steps:  # from the last to the first, whatever fails
        steps.callback(pools.drain_pools, loop)
        steps.callback(_await, perloop.close_all)
        steps.callback(_await, stack.aclose)
        for ending in _endings:
            steps.callback(_await, ending)
        if wait and (left := admission_of(loop).until_empty(REQUESTS_S)):
            logger.warning("The project is shut down while %d requests are under way.", left)


def _await(function: Callable[[], Awaitable[None]]) -> None:
    bridge.await_(function())
