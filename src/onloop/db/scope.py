"""Scopes: whose connection is it?

A scope is the set of connection wrappers of one flow of control: a request, a background
task, a block of `async with onloop.scope():`, or any bare asyncio task that touches the
database. Scopes are found by the task that they belong to. The context variable serves for
inheritance only: asgiref copies context variables *back* from threads, so a scope found there
may be another task's.

A plain thread has no scope: there, Django's own storage serves.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from django.db import connections
from greenlet import getcurrent

from onloop import guard, taskfactory
from onloop.bridge import Bridge
from onloop.db import node as nodes
from onloop.waiting import running_loop

logger = logging.getLogger("onloop.db")

_current_task = asyncio.current_task

_scopes: dict[asyncio.Task[Any], Scope] = {}
# The scope that tasks inherit from; or, before a task has one, that it was made in.
_made_in: contextvars.ContextVar[Scope | ThreadSurroundings | None] = contextvars.ContextVar(
    "onloop_scope", default=None
)


class _Lent(threading.local):
    """The scope that the request handler lends to the thread of a sync view."""

    scope: Scope | None = None


_lent = _Lent()


class Scope:
    """The connection wrappers of one task, by alias."""

    __slots__ = (
        "_guard",
        "_lent_to",
        "_outer",
        "_surroundings",
        "ended",
        "loop",
        "made_in",
        "task",
        "thread",
        "wrappers",
    )

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.thread = threading.get_ident()
        self.loop = task.get_loop()
        self.wrappers: dict[str, Any] = {}
        self.made_in = _living(_made_in.get())
        self._outer: Scope | None = None
        self._surroundings: tuple[Any, ...] = ()
        self._guard = threading.Lock()
        self._lent_to = 0
        self.ended = False

    @classmethod
    def begin(cls) -> Scope:
        """Open a scope for the current task, outside any transaction of its surroundings."""
        task = asyncio.current_task()
        assert task is not None
        scope = cls(task)
        scope._outer = _scopes.get(task)
        _scopes[task] = scope
        scope._surroundings = (nodes.blocks(), scope.made_in, taskfactory.bridge_tasks.get())
        nodes.set_blocks()
        _made_in.set(scope)
        taskfactory.bridge_tasks.set(True)
        taskfactory.install_task_factory(scope.loop)
        return scope

    def end(self) -> None:
        """Give every connection back; never waits.

        A thread that the scope is lent to keeps it: the connections are back when it is done.
        """
        standing_in = _made_in.get() is self
        surroundings, self._surroundings = self._surroundings, ()
        if _scopes.get(self.task) is not self and (inner := self._inner()) is not None:
            inner._surroundings = surroundings  # what it will put back, as the last one
        self.close()
        if standing_in:
            blocks, made_in, bridged = surroundings
            nodes.set_blocks(blocks)
            _made_in.set(_living(made_in))
            taskfactory.bridge_tasks.set(bridged)

    def close(self, _: object = None) -> None:
        """End, from outside of the task: the callback of one that did not."""
        with self._guard:
            if self.ended:
                return
            self.ended = True
            lent = self._lent_to > 0
        if _scopes.get(self.task) is self:
            if self._outer is None:
                del _scopes[self.task]
            else:
                _scopes[self.task] = self._outer
        elif (inner := self._inner()) is not None:
            inner._outer = self._outer
        if not lent:
            self.release()
        # What is made in this one inherits from those around it now. A task keeps the scope
        # that it was made in, and that must not keep a chain of others.
        self._outer = None
        self.made_in = _living(self.made_in)

    @property
    def is_callers(self) -> bool:
        """Whether the caller is on the scope's loop, or in a thread that it is lent to."""
        return _lent.scope is self or running_loop() is self.loop

    def _inner(self) -> Scope | None:
        """Return the scope that was opened in this one, if it is still open."""
        scope = _scopes.get(self.task)
        while scope is not None and scope._outer is not self:
            scope = scope._outer
        return scope

    def release(self) -> None:
        wrappers, self.wrappers = self.wrappers, {}
        for wrapper in wrappers.values():
            try:
                end = getattr(wrapper, "end_of_scope", None)
                if end is not None:
                    end()
                else:
                    with guard.lifted():  # an engine that is not ours blocks all the time
                        wrapper.close()
            except Exception:
                logger.exception("The connection %r could not be given back.", wrapper.alias)

    @property
    def is_lent(self) -> bool:
        return self._lent_to > 0

    def is_used_here(self) -> bool:
        """Tell whether the calling thread is the one that may use the wrappers now."""
        if running_loop() is self.loop:
            return not self._lent_to
        return _lent.scope is self or not self.loop.is_running()

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Make this the scope of the calling thread, while the owner awaits that thread."""
        with self._guard:
            self._lent_to += 1
        outer, _lent.scope = _lent.scope, self
        try:
            yield
        finally:
            _lent.scope = outer
            with self._guard:
                self._lent_to -= 1
                left_behind = self.ended and not self._lent_to
            if left_behind:  # the request was cancelled, the thread could not be
                self.release()


def current_scope() -> Scope | None:
    """Return the scope of the calling task, or the one lent to the calling thread.

    A bare task gets a scope when it first asks; it ends with the task.
    """
    loop = running_loop()
    if loop is None:
        return _lent.scope
    task = asyncio.current_task(loop)
    if task is None:
        return None
    scope = _scopes.get(task)
    if scope is None:
        _sweep(loop)
        scope = _scopes[task] = Scope(task)
        task.add_done_callback(scope.close)
        _made_in.set(scope)
    return scope


def is_untouched() -> bool:
    """Tell whether the calling task has a scope in which no database was used yet."""
    scope = _scopes.get(asyncio.current_task())  # type: ignore[arg-type]
    return scope is not None and not scope.wrappers


def is_lent_here() -> bool:
    """Tell whether the calling thread has been lent a scope, as that of a synchronous view."""
    return _lent.scope is not None


def loop_of_thread() -> asyncio.AbstractEventLoop | None:
    """Return the loop that the calling plain thread works for, as far as scopes know it.

    The thread of a synchronous view, or one that was started from inside a scope.
    """
    scope = _lent.scope or _made_in.get()
    return scope.loop if isinstance(scope, Scope) and scope.loop.is_running() else None


def rest() -> None:
    """Give back what the calling task's own scope holds, before it waits for long.

    For a task that opened none, outside of any block: in session mode it would keep its
    connection until it ends.
    """
    scope = _scopes.get(asyncio.current_task())  # type: ignore[arg-type]
    if scope is not None and not scope._surroundings and not nodes.blocks():
        scope.release()


_last_loop: weakref.ref[asyncio.AbstractEventLoop] | None = None


def _sweep(loop: asyncio.AbstractEventLoop) -> None:
    """When another loop comes, end the scopes of those that were closed with tasks in them."""
    global _last_loop  # noqa: PLW0603 - a memo
    if _last_loop is not None and _last_loop() is loop:
        return
    _last_loop = weakref.ref(loop)
    for scope in [scope for scope in list(_scopes.values()) if scope.loop.is_closed()]:
        scope.close()


class ThreadSurroundings:
    """What tasks inherit from a plain thread that waits for them: its wrappers."""

    ended = False
    made_in = None

    def __init__(self, store: ConnectionStore) -> None:
        plain = store._plain
        self.wrappers = {
            alias: getattr(plain, alias) for alias in connections if hasattr(plain, alias)
        }


@contextmanager
def hop() -> Iterator[None]:
    """Stand around a hop of asgiref's, which copies context variables there and back.

    What it copies back may belong to a task or thread that goes on, or that is no more.
    """
    blocks, made_in = nodes.blocks(), _made_in.get()
    store: Any = connections._connections  # type: ignore[attr-defined]
    if made_in is None and running_loop() is None and isinstance(store, ConnectionStore):
        _made_in.set(ThreadSurroundings(store))
    try:
        yield
    except asyncio.CancelledError:
        nodes.set_blocks(blocks)  # a thread cannot be cancelled, and is still in its own
        raise
    finally:
        nodes.after_hop(blocks)
        _made_in.set(made_in)


class scope:  # noqa: N801 - used as `async with onloop.scope():`
    """Open a scope of its own for a stretch of a task.

    Inside, `django.db.connections` are this scope's, any transaction around it is left alone,
    tasks that are created run in a bridge (so that synchronous code which waits, like a lazy
    relation, works in them), and at the end every connection is back in its pool. Use it for
    long-running background tasks, a stretch of work at a time.
    """

    _scope: Scope

    async def __aenter__(self) -> Scope:
        self._scope = Scope.begin()
        # For a task that ends without leaving it.
        self._scope.task.add_done_callback(self._scope.close)
        return self._scope

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        task = self._scope.task
        if asyncio.current_task() is not task:
            if exc_type is not None and exc_type is not GeneratorExit:
                return
            raise RuntimeError(
                f"onloop.scope() was entered in task {task.get_name()!r} and left in another "
                "one. It stays that task's until it ends. Enter and leave a scope in one task; "
                "close an async generator that holds one in the task that uses it "
                "(contextlib.aclosing)."
            )
        task.remove_done_callback(self._scope.close)
        self._scope.end()


class ConnectionStore:
    """What `django.db.connections` keeps its wrappers in, instead of a thread-local.

    An alias is looked up in the caller's transaction, then in its scope; code in a plain
    thread finds what Django's own storage has.
    """

    __slots__ = ("_plain",)

    def __init__(self, plain: Any) -> None:
        object.__setattr__(self, "_plain", plain)

    def __getattr__(self, alias: str) -> Any:
        node = nodes.innermost(alias)
        if node is not None:
            if node.ended:
                node.check()
            return node.wrapper
        # `current_scope`, for a task that has one: each query looks here.
        here = getcurrent()
        owner = None
        if type(here) is Bridge and here.task is _current_task(here.loop):
            owner = _scopes.get(here.task)
        if owner is None:
            owner = current_scope()
        if owner is None:
            return getattr(self._plain, alias)
        try:
            return owner.wrappers[alias]
        except KeyError:
            raise AttributeError(alias) from None

    def __setattr__(self, alias: str, wrapper: Any) -> None:
        owner = current_scope()
        if owner is None:
            setattr(self._plain, alias, wrapper)
            return
        owner.wrappers[alias] = wrapper
        enter = getattr(wrapper, "enter_scope", None)
        if enter is not None:
            enter(owner)
        else:
            wrapper.inc_thread_sharing()
        _inherit(wrapper, owner.made_in)

    def __delattr__(self, alias: str) -> None:
        owner = current_scope()
        if owner is None:
            delattr(self._plain, alias)
        else:
            owner.wrappers.pop(alias, None)


def _living(scope: Scope | ThreadSurroundings | None) -> Scope | ThreadSurroundings | None:
    """Return the scope, or the nearest one that it was made in which has not ended."""
    while scope is not None and scope.ended:
        scope = scope.made_in
    return scope


def _inherit(wrapper: Any, made_in: Scope | ThreadSurroundings | None) -> None:
    """Let query counts and execute wrappers of a scope hold for the tasks made in it."""
    parent = None
    made_in = _living(made_in)
    while made_in is not None and parent is None:
        parent = made_in.wrappers.get(wrapper.alias)
        made_in = _living(made_in.made_in)
    if parent is None:
        return
    wrapper.execute_wrappers = list(parent.execute_wrappers)
    if parent.queries_logged:
        wrapper.force_debug_cursor = parent.force_debug_cursor
        wrapper.queries_log = parent.queries_log


def install_store() -> None:
    """Put the store behind `django.db.connections`; wrappers that exist are kept."""
    handler: Any = connections
    if not isinstance(handler._connections, ConnectionStore):
        handler._connections = ConnectionStore(handler._connections)
