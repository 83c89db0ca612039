"""`django.db.transaction.atomic`, for `async with`, `async def` and tasks that share a block.

Django's own `Atomic.__enter__` and `__exit__` do the work on the wrapper. Around them stands
what one connection shared by several tasks needs: the node that tells who belongs to the
block, the turn on the connection, and an end that a cancellation cannot tear apart.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.db.transaction import Atomic
from django.db.utils import DEFAULT_DB_ALIAS

from onloop import adapters, bridge, guard
from onloop.db import leaving
from onloop.db import node as nodes
from onloop.db.leaving import leave
from onloop.db.node import Node
from onloop.waiting import running_loop

_enter = Atomic.__enter__
_decorate = Atomic.__call__


# --- entering ---------------------------------------------------------------------------------


def enter(self: Atomic) -> None:
    """`Atomic.__enter__`: enter the block in the turn of the caller's innermost block."""
    alias = self.using or DEFAULT_DB_ALIAS
    from_testcase = self._from_testcase  # type: ignore[attr-defined]
    if from_testcase:
        # A block of the caller's would stand in the way: the test's is opened inside it.
        nodes.stand_in(alias, None)
    wrapper: Any = connections[alias]
    turn = getattr(wrapper, "turn", None)
    if turn is None:  # an engine that is not ours
        _enter(self)
        return
    guard.refuse_implicit()
    outer = nodes.root(alias) if from_testcase else nodes.innermost(alias)
    turn.acquire(outer)
    if outer is not None and outer.ended:  # while it waited, by a finaliser
        outer = nodes.innermost(alias)
    try:
        cancelled = _enter_whole(self, wrapper)
        node = Node(wrapper, turn, self, outer)
        turn.push(node)
    finally:
        turn.__exit__()
    if from_testcase:
        nodes.set_root(alias, node)
    else:
        if outer is nodes.root(alias):
            node.outer = None  # not the context's: it is found without it
        nodes.stand_in(alias, node)
    if cancelled is not None:
        try:
            leave(self, type(cancelled), cancelled, cancelled.__traceback__)
            raise cancelled
        finally:
            del cancelled  # a cycle through this frame would keep cursors open


def _enter_whole(self: Atomic, wrapper: Any) -> asyncio.CancelledError | None:
    """Enter as Django does; return a cancellation that arrived during SAVEPOINT.

    A SAVEPOINT that is cancelled half-way would cost the outer block, which the task's time-out
    has nothing to do with. (BEGIN goes to the server with the first statement.)
    """
    if not (self.savepoint and wrapper.in_atomic_block):
        _enter(self)
        return None
    depth = len(wrapper.atomic_blocks)
    try:
        with bridge.Shield(leaving.SHIELD_S):
            _enter(self)
    except asyncio.CancelledError as exc:
        if len(wrapper.atomic_blocks) == depth:
            raise  # Django has not entered
        return exc
    return None


# --- the forms for async code -----------------------------------------------------------------


async def aenter(self: Atomic) -> None:
    """`Atomic.__aenter__`."""
    await bridge.run(enter, self)


async def aleave(
    self: Atomic,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    tb: TracebackType | None,
) -> None:
    """`Atomic.__aexit__`."""
    if exc_type is GeneratorExit and running_loop() is None:
        leave(self, exc_type, exc, tb)  # a coroutine whose loop is gone
    else:
        await bridge.run(leave, self, exc_type, exc, tb)


def decorate(self: Atomic, func: Callable[..., Any]) -> Callable[..., Any]:
    """`Atomic.__call__`: the decorator, for functions and for `async def`.

    Raises `TypeError` for an async generator function: its rows would be made after the block.
    """
    if inspect.isasyncgenfunction(func):
        raise TypeError(
            f"atomic() cannot decorate the async generator function {func.__qualname__}(): "
            "write `async with transaction.atomic():` inside of it."
        )
    if not iscoroutinefunction(func) and not (
        # An object with `async def __call__`.
        iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004
        and not inspect.isclass(func)
    ):
        return _decorate(self, func)

    @functools.wraps(func)
    async def atomically(*args: Any, **kwargs: Any) -> Any:
        async with self:  # type: ignore[attr-defined]
            return await func(*args, **kwargs)

    return atomically


def make_view_atomic(self: Any, view: Callable[..., Any]) -> Callable[..., Any]:
    """`BaseHandler.make_view_atomic`: honour `ATOMIC_REQUESTS`, for `async def` views too.

    Django's own handlers refuse those, so that its test clients would not be able to ask for
    what the application serves.
    """
    exempt = getattr(view, "_non_atomic_requests", ())
    for alias, settings_dict in connections.settings.items():
        if settings_dict["ATOMIC_REQUESTS"] and alias not in exempt:
            view = Atomic(alias, savepoint=True, durable=False)(view)
    return view


def adapt_commit_hook(func: Callable[[], Any]) -> Callable[[], Any]:
    """Let an `async def` function be an `on_commit` callback."""
    if not iscoroutinefunction(func):
        return func
    return functools.update_wrapper(functools.partial(adapters.async_to_sync(func)), func)
