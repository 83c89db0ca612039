"""The lifespan of the server: start-up and shutdown of the project."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
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

    Raises `StartFailed`. Cancelled, however often, it returns when all hooks have been left.
    """
    incoming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    replies: asyncio.Queue[Any] = asyncio.Queue()
    serving = asyncio.create_task(serve_lifespan(incoming.get, replies.put))
    # Whatever becomes of it, nobody waits for a reply for ever.
    serving.add_done_callback(lambda _: replies.put_nowait({"type": "", "message": "it ended"}))
    incoming.put_nowait({"type": "lifespan.startup"})
    try:
        reply = await replies.get()
    except asyncio.CancelledError:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        raise
    if reply["type"] != "lifespan.startup.complete":
        await serving
        raise StartFailed(f"The worker could not start: {reply['message']}")
    try:
        yield
    finally:
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await serving  # a cancellation goes to it, and is raised when it has ended


def _serve(
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    scope = Scope.begin()
    hooks = Hooks()
    heap = ExitStack()
    loop = asyncio.get_running_loop()
    try:
        while True:
            message = bridge.await_(receive())
            if message["type"] == "lifespan.startup":
                enter_phase(loop, "starting")
                reply = _attempt("startup", lambda: start(hooks))
                if reply["type"] == "lifespan.startup.complete":
                    enter_phase(loop, "started")
                    heap.enter_context(frozen_heap())
                else:
                    enter_phase(loop, "stopping")
                    _attempt("shutdown", lambda: stop(hooks, wait=False))
            elif message["type"] == "lifespan.shutdown":
                enter_phase(loop, "stopping")
                reply = _attempt("shutdown", lambda: stop(hooks))
            else:  # of a later version; a server may have any number of them at hand
                bridge.await_(asyncio.sleep(0))
                continue
            bridge.await_(send(reply))
            if reply["type"] != "lifespan.startup.complete":
                return
    except BaseException:  # cancelled: a server that gives up says no more
        first = phase_of(loop) != "stopping"
        enter_phase(loop, "stopping")
        _attempt("shutdown", lambda: stop(hooks, wait=first))
        raise
    finally:
        heap.close()
        scope.end()


def _attempt(phase: str, step: Callable[[], None]) -> dict[str, Any]:
    try:
        step()
    except Exception as exc:
        logger.exception("The %s of the project failed.", phase)
        errors = exc.exceptions if isinstance(exc, ExceptionGroup) else [exc]
        message = "; ".join(f"{type(each).__name__}: {each}" for each in errors)
        return {"type": f"lifespan.{phase}.failed", "message": message}
    return {"type": f"lifespan.{phase}.complete"}


class Hooks:
    """What `ONLOOP["LIFESPAN"]` names. None of them sees an error of another's."""

    def __init__(self) -> None:
        self._entered: list[AbstractAsyncContextManager[object]] = []

    async def enter(self) -> None:
        """Enter them in order, up to the first that fails."""
        for path in conf.get().LIFESPAN:
            hook = _hook(path)
            await hook.__aenter__()
            self._entered.append(hook)

    async def leave(self) -> None:
        """Leave those that were entered, in reverse order, whatever fails or is cancelled.

        Raises what the one raised that failed, or a group; a cancellation goes before them, and
        they are logged.
        """
        failures: list[Exception] = []
        cancelled: BaseException | None = None
        while self._entered:
            try:
                await self._entered.pop().__aexit__(None, None, None)
            except Exception as exc:  # noqa: BLE001 - raised below
                failures.append(exc)
            except BaseException as exc:  # noqa: BLE001 - raised below
                cancelled = exc
        if cancelled is not None:
            for failure in failures:
                logger.error("A hook of ONLOOP['LIFESPAN'] failed.", exc_info=failure)
            raise cancelled
        if len(failures) > 1:
            raise ExceptionGroup("Hooks of ONLOOP['LIFESPAN'] failed", failures)
        if failures:
            raise failures[0]


def start(hooks: Hooks) -> None:
    """Enter what `ONLOOP["LIFESPAN"]` names, in order, and open the pools' first connections.

    A database that is not there does not keep the project from starting.
    """
    _await(hooks.enter)
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


def stop(hooks: Hooks, *, wait: bool = True) -> None:
    """Leave what `start` entered, in reverse order; close the loop's clients and its pools.

    With `wait`, requests end first, within `REQUESTS_S` seconds: uvicorn cancels those that
    take too long and says at once that this is the end, while they still roll back.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as steps:  # from the last to the first, whatever fails
        steps.callback(pools.drain_pools, loop)
        steps.callback(_await, perloop.close_all)
        steps.callback(_await, hooks.leave)
        for ending in _endings:
            steps.callback(_await, ending)
        if wait and (left := admission_of(loop).until_empty(REQUESTS_S)):
            logger.warning("The project is shut down while %d requests are under way.", left)


def _await(function: Callable[[], Awaitable[None]]) -> None:
    bridge.await_(function())
