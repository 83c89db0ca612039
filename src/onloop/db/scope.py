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
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from django.db import connections

from onloop import taskfactory
from onloop.db import turn
from onloop.waiting import running_loop

logger = logging.getLogger("onloop.db")

_scopes: dict[asyncio.Task[Any], Scope] = {}
_made_in: contextvars.ContextVar[Scope | None] = contextvars.ContextVar(
    "onloop_scope", default=None
)


class _Lent(threading.local):
    """The scope that the request handler lends to the thread of a sync view."""

    scope: Scope | None = None


_lent = _Lent()


class Scope:
    """The connection wrappers of one task, by alias."""

    __slots__ = (
        "_ended",
        "_guard",
        "_lent_to",
        "_outer",
        "_surroundings",
        "loop",
        "made_in",
        "task",
        "wrappers",
    )

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.loop = task.get_loop()
        self.wrappers: dict[str, Any] = {}
        self.made_in = _made_in.get()
        self._outer: Scope | None = None
        self._surroundings: tuple[Any, ...] = ()
        self._guard = threading.Lock()
        self._lent_to = 0
        self._ended = False

    @classmethod
    def begin(cls) -> Scope:
        """Open a scope for the current task, outside any transaction of its surroundings."""
        task = asyncio.current_task()
        assert task is not None
        scope = cls(task)
        scope._outer = _scopes.get(task)
        _scopes[task] = scope
        scope._surroundings = (turn.innermost(), scope.made_in, taskfactory.bridge_tasks.get())
        turn.set_innermost(None)
        _made_in.set(scope)
        taskfactory.bridge_tasks.set(True)
        taskfactory.install_task_factory(scope.loop)
        return scope

    def end(self) -> None:
        """Give every connection back; never waits.

        A thread that the scope is lent to keeps it: the connections are back when it is done.
        """
        if self._outer is None:
            _scopes.pop(self.task, None)
        else:
            _scopes[self.task] = self._outer
        with self._guard:
            self._ended = True
            lent = self._lent_to > 0
        if not lent:
            self.release()
        if self._surroundings:
            node, made_in, bridged = self._surroundings
            turn.set_innermost(node)
            _made_in.set(None if made_in is None or made_in._ended else made_in)
            taskfactory.bridge_tasks.set(bridged)
        # A task keeps the scope that it was made in; that must not keep a chain of others.
        self._surroundings = ()
        self._outer = self.made_in = None

    def release(self) -> None:
        wrappers, self.wrappers = self.wrappers, {}
        for wrapper in wrappers.values():
            try:
                end = getattr(wrapper, "end_of_scope", None)
                if end is not None:
                    end()
                else:
                    wrapper.close()  # an engine that is not ours
            except Exception:
                logger.exception("The connection %r could not be given back.", wrapper.alias)

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
                left_behind = self._ended and not self._lent_to
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
        scope = _scopes[task] = Scope(task)
        task.add_done_callback(_end_of_task)
    return scope


def _end_of_task(task: asyncio.Task[Any]) -> None:
    scope = _scopes.pop(task, None)
    if scope is not None:
        scope.release()


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
        return self._scope

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
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
        node = turn.innermost(alias)
        if node is not None:
            node.check()
            return node.wrapper
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
        wrapper.inc_thread_sharing()
        enter = getattr(wrapper, "enter_scope", None)
        if enter is not None:
            enter(owner)
        _inherit(wrapper, owner.made_in)

    def __delattr__(self, alias: str) -> None:
        owner = current_scope()
        if owner is None:
            delattr(self._plain, alias)
        else:
            owner.wrappers.pop(alias, None)


def _inherit(wrapper: Any, made_in: Scope | None) -> None:
    """Let query counts and execute wrappers of a scope hold for the tasks made in it."""
    parent = None if made_in is None else made_in.wrappers.get(wrapper.alias)
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
