"""What the database layer holds, and what PostgreSQL itself says about it.

Nothing of Django, of a driver or of `onloop.db` is imported before an application has done so:
without settings there is nothing to read here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onloop.testing.proxy import FaultProxy
from onloop.testing.readings import Leak
from onloop.waiting import running_loop

OBSERVER = "onloop-ledger"
_CONNECT_TIMEOUT_S = 3

_SESSIONS = """
    SELECT pid, coalesce(state, ''), coalesce(xact_start::text, ''), left(query, 500),
           application_name
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
      AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND application_name = %s
"""
_LOCKS = """
    SELECT pid, locktype, mode, granted,
           coalesce(relation::regclass::text, classid || ':' || objid, transactionid::text, '')
    FROM pg_locks
    WHERE pid = ANY(%s) AND locktype <> 'virtualxid'
      AND (database IS NULL OR database IN
           (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
"""


@dataclass(frozen=True)
class Session:
    pid: int
    state: str
    transaction_start: str
    query: str


@dataclass
class ServerReading:
    """What one PostgreSQL database says of this application's sessions."""

    sessions: dict[int, Session] = field(default_factory=dict)
    locks: set[tuple[Any, ...]] = field(default_factory=set)
    problem: str | None = None


def active() -> bool:
    """Tell whether Django is there and configured; without it there is nothing to read."""
    conf = sys.modules.get("django.conf")
    return conf is not None and conf.settings.configured and "onloop.db.pools" in sys.modules


def name_memory_databases() -> None:
    """Write down that test databases of SQLite are in memory, where no other name is given."""
    from django.conf import settings  # noqa: PLC0415 - see the module's first lines
    from django.db.utils import load_backend  # noqa: PLC0415

    for database in settings.DATABASES.values():
        if not database.get("ENGINE") or database.get("TEST", {}).get("NAME"):
            continue
        if load_backend(database["ENGINE"]).DatabaseWrapper.vendor == "sqlite":
            database.setdefault("TEST", {})["NAME"] = ":memory:"


def end_stranded() -> None:
    """Undo the transactions of tasks whose event loop does not run."""
    from onloop.db import stranded  # noqa: PLC0415 - see the module's first lines

    stranded.end_stranded()


# --- pools and scopes -------------------------------------------------------------------------


@dataclass
class Held:
    """Connections that are open and no leak, by what identifies them elsewhere."""

    pids: set[int] = field(default_factory=set)
    descriptors: set[int] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    # Those of them that may be in a transaction.
    in_transaction: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, wrapper: Any) -> Held:
        held = cls()
        held.add_wrapper(wrapper)
        return held

    def add(self, connection: Any, name: str) -> None:
        """Add a connection to the database `name`, which is a file's name for SQLite."""
        pgconn = getattr(connection, "pgconn", None)
        if pgconn is None:
            self.files.add(str(Path(name).resolve()))
        elif not connection.closed:
            self.pids.add(pgconn.backend_pid)
            self.descriptors.add(pgconn.socket)

    def add_wrapper(self, wrapper: Any) -> None:
        if wrapper.connection is not None:
            self.add(wrapper.connection, str(wrapper.settings_dict["NAME"]))


def _all_pools() -> list[tuple[asyncio.AbstractEventLoop, str, Any]]:
    from onloop.db import pools  # noqa: PLC0415 - see the module's first lines

    return pools.all_pools()


def _open_scopes() -> list[Any]:
    """Scopes that somebody has opened and not closed, inner before outer."""
    from onloop.db import scope  # noqa: PLC0415 - see the module's first lines

    found = []
    for innermost in list(scope._scopes.values()):
        current: Any = innermost
        while current is not None:
            found.append(current)
            current = current._outer
    return found


class PoolReading:
    """Which connections are out, and which scopes are open.

    `surrounding`: wrappers whose transaction was open already. That of a `TestCase` is begun
    at the server by the first query in it, so it may be seen there only later.
    """

    def __init__(self) -> None:
        self.surrounding = _wrappers_of_open_blocks()
        self._pools = _all_pools()  # kept, so that no id becomes another's
        self._out = {id(pool): _out_of(pool) for _, _, pool in self._pools}
        self._scopes = _open_scopes()

    def leaks(self) -> Iterator[Leak]:
        for loop, _, pool in _all_pools():
            out, waiting = _out_of(pool)
            out_before, waiting_before = self._out.get(id(pool), (0, 0))
            if out > out_before and (more := self._not_ours(pool, out - out_before)):
                held = "; ".join(map(_describe_owner, _owners(pool)))
                yield Leak(
                    "connection",
                    f"{out} of {pool.options.max_size} connections of the pool {pool.name!r} "
                    f"({_describe_loop(loop)}) are out, {more} more than before; held by: "
                    f"{held or 'nobody that can be found'}",
                )
            if waiting > waiting_before:
                yield Leak(
                    "connection",
                    f"{waiting} callers still wait for a connection of the pool {pool.name!r}",
                )
        for scope in _open_scopes():
            # A bare task's own scope ends with it, by itself.
            if scope._surroundings and scope not in self._scopes:
                yield Leak(
                    "scope",
                    f"a scope of {scope.task.get_name()!r} has not been ended; it holds "
                    f"{sorted(scope.wrappers) or 'no connection'}",
                )

    def _not_ours(self, pool: Any, out: int) -> int:
        """Return how many of `out` connections are held neither around this nor by this task.

        What the task holds outside a transaction ends with it.
        """
        mine = (w for w in _wrappers_of_current_task() if not _in_transaction(w))
        rightly = {id(w) for w in (*mine, *self.surrounding) if w._borrowed_from is pool}
        return max(out - len(rightly), 0)


def _out_of(pool: Any) -> tuple[int, int]:
    stats = pool.stats()
    return stats["pool_size"] - stats["pool_available"], stats["requests_waiting"]


def _owners(pool: Any) -> list[Any]:
    return [
        thing
        for thing in gc.get_objects()
        if getattr(type(thing), "loop_pool", None) is not None
        and thing._borrowed_from is pool
        and thing.connection is not None
    ]


def _wrappers_of_current_task() -> list[Any]:
    from onloop.db import scope  # noqa: PLC0415 - see the module's first lines

    try:
        task = asyncio.current_task()
    except RuntimeError:
        return []
    current: Any = None if task is None else scope._scopes.get(task)
    while current is not None and current._surroundings:
        current = current._outer  # one that was opened must be closed as well
    return [] if current is None else list(current.wrappers.values())


def _in_transaction(wrapper: Any) -> bool:
    return wrapper.connection is not None and bool(
        wrapper.in_atomic_block or wrapper.in_transaction()
    )


def _describe_owner(wrapper: Any) -> str:
    task = wrapper.scope.task
    state = [f"{len(wrapper._cursors)} open cursors"] if wrapper._cursors else []
    if wrapper.in_atomic_block:
        state.append("an atomic block")
    if wrapper._pinned:
        state.append("an explicit connect()")
    of = f"the scope of {task.get_name()!r}" + (", which is done" if task.done() else "")
    return f"{of}, for {' and '.join(state) or 'no reason that it knows'}"


def _describe_loop(loop: asyncio.AbstractEventLoop) -> str:
    return f"of a closed loop {id(loop):#x}" if loop.is_closed() else f"of loop {id(loop):#x}"


def _wrappers_of_open_blocks() -> list[Any]:
    from django.db import connections  # noqa: PLC0415 - see the module's first lines

    from onloop.db import node  # noqa: PLC0415

    nodes = [node.innermost(alias) for alias in connections.settings]
    return [each.wrapper for each in nodes if each is not None and not each.ended]


def held_rightly(surrounding: Iterable[Any]) -> Held:
    """Connections that may be open: idle in a pool, or Django's own of this thread."""
    from django.db import connections  # noqa: PLC0415 - see the module's first lines

    from onloop.db import ear  # noqa: PLC0415 - see the module's first lines

    held = Held()
    held.descriptors |= ear.descriptors()
    for _, name, pool in _all_pools():
        for connection in pool.idle:
            held.add(connection, name)
    for wrapper in (*_wrappers_of_current_task(), *surrounding):
        held.add_wrapper(wrapper)
    for wrapper in surrounding:
        held.in_transaction |= Held.of(wrapper).pids
    if running_loop() is None:
        for wrapper in connections.all(initialized_only=True):
            held.add_wrapper(wrapper)
    return held


# --- PostgreSQL's own view --------------------------------------------------------------------


def postgresql_aliases() -> list[str]:
    """Return the aliases whose engine is PostgreSQL's."""
    from django.db import connections  # noqa: PLC0415 - see the module's first lines
    from django.db.utils import load_backend  # noqa: PLC0415

    return [
        alias
        for alias, settings in connections.settings.items()
        if load_backend(settings["ENGINE"]).DatabaseWrapper.vendor == "postgresql"
    ]


def _parameters(alias: str) -> tuple[dict[str, Any], str]:
    """Return psycopg's arguments for `alias`, past any proxy, and the application's name."""
    from django.db import connections  # noqa: PLC0415 - see the module's first lines
    from django.db.utils import load_backend  # noqa: PLC0415

    settings = {**connections.settings[alias], **FaultProxy.original_place(alias)}
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias)
    given = wrapper.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold", "server_side_binding"):
        given.pop(name, None)
    name = given.get("application_name") or os.environ.get("PGAPPNAME", "")
    given.update(application_name=OBSERVER, connect_timeout=_CONNECT_TIMEOUT_S)
    return given, name


def read_server(alias: str, application_name: str | None) -> ServerReading:
    """Ask PostgreSQL, over a connection of its own that blocks for a few milliseconds."""
    import psycopg  # noqa: PLC0415 - only where PostgreSQL is in use

    reading = ServerReading()
    parameters, own_name = _parameters(alias)
    name = own_name if application_name is None else application_name
    try:
        with psycopg.connect(**parameters, autocommit=True) as connection:
            for pid, state, start, query, _ in connection.execute(_SESSIONS, [name]):
                reading.sessions[pid] = Session(pid, state, start, query)
            reading.locks = set(connection.execute(_LOCKS, [list(reading.sessions)]))
    except psycopg.Error as exc:
        reading.problem = f"PostgreSQL of {alias!r} could not be asked: {exc}"
    return reading


def server_leaks(
    alias: str, before: ServerReading, now: ServerReading, held: Held
) -> Iterator[Leak]:
    """Name sessions and locks that are there now and have no reason to be."""
    if now.problem is not None:
        if before.problem is None:
            yield Leak("server", now.problem)
        return
    for session in now.sessions.values():
        earlier = before.sessions.get(session.pid)
        what = f"backend {session.pid} of {alias!r} is {session.state or 'in an unknown state'}"
        last = f"its last statement: {session.query!r}"
        if session.pid in held.in_transaction:
            continue
        if session.state.startswith("idle in transaction"):
            if earlier is None or earlier.transaction_start != session.transaction_start:
                yield Leak("transaction", f"{what}; {last}")
        elif session.state == "active" and session != earlier:
            yield Leak("session", f"{what}: a statement goes on running; {last}")
        elif earlier is None and session.pid not in held.pids:
            yield Leak("session", f"{what}, and in no pool; {last}")
    for lock in sorted(now.locks - before.locks, key=str):
        pid, locktype, mode, granted, on = lock
        if pid in held.in_transaction:
            continue
        verb = "holds" if granted else "waits for"
        yield Leak("lock", f"backend {pid} of {alias!r} {verb} {mode} ({locktype} {on})")
