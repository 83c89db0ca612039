"""The settings dictionary `ONLOOP`, read once and checked."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

MIB = 2**20

Check = Callable[[str, Any], Any]
T = TypeVar("T")


def _setting(default: Any, check: Check) -> Any:
    return field(default=default, metadata={"check": check})


# --- what values may be -----------------------------------------------------------------------


def _list_of(kind: str) -> Check:
    def check(name: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple | set | frozenset) or not all(
            isinstance(item, str) for item in value
        ):
            raise ImproperlyConfigured(f"ONLOOP[{name!r}] must be a list of {kind}.")
        return tuple(value)

    return check


def _paths(name: str, value: Any) -> tuple[str, ...]:
    paths: tuple[str, ...] = _list_of("paths")(name, value)
    for path in paths:
        if not path.startswith("/"):
            raise ImproperlyConfigured(
                f'ONLOOP["{name}"] must hold paths that begin with "/"; {path!r} does not.'
            )
    return paths


def _choice(*choices: str) -> Check:
    def check(name: str, value: Any) -> str:
        if value not in choices:
            wanted = " or ".join(f'"{choice}"' for choice in choices)
            raise ImproperlyConfigured(f'ONLOOP["{name}"] must be {wanted}.')
        return str(value)

    return check


def _number_of(unit: str, *, above: float = -1, whole: bool = False) -> Check:
    """A finite number above `above`; -1 stands for "0 or more"."""
    floor = "0 or more" if above < 0 else f"above {above:g}"
    joint = " " if above >= 0 else ", "

    def check(name: str, value: Any) -> float:
        numeric = isinstance(value, int if whole else int | float)
        if not numeric or isinstance(value, bool) or not max(above, -0.5) < value < math.inf:
            number = "whole number" if whole else "number"
            raise ImproperlyConfigured(
                f'ONLOOP["{name}"] must be a {number} of {unit}{joint}{floor}.'
            )
        return value  # type: ignore[no-any-return]

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f'ONLOOP["{name}"] must be True or False.')
    return value


def _quotable(name: str, value: Any) -> str:
    """What may stand between quotation marks in a header."""
    if not isinstance(value, str) or re.search(r'[^ -~]|["\\]', value):
        raise ImproperlyConfigured(
            f'ONLOOP["{name}"] must be ASCII text without quotation marks, backslashes and '
            "control characters."
        )
    return value


def _function(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ImproperlyConfigured(f'ONLOOP["{name}"] must be the dotted path of a function.')
    return value


def _ports(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        type(port) is int and 0 < port < 65536 for port in value
    ):
        raise ImproperlyConfigured(f'ONLOOP["{name}"] must be a list of ports, 1 to 65535.')
    return tuple(value)


def _networks(name: str, value: Any) -> tuple[Network, ...]:
    texts: tuple[str, ...] = _list_of("networks")(name, value)
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError:
        pass
    raise ImproperlyConfigured(
        f'ONLOOP["{name}"] must be a list of networks such as "10.1.2.0/24" or "fd12::/64", '
        "without bits beyond the prefix."
    )


def _group(group: type[Any]) -> Check:
    """A dictionary of settings of their own."""

    def check(name: str, value: Any) -> Any:
        return _read(group, value, name)

    return check


Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DOTTED = _list_of("dotted paths")
_SECONDS = _number_of("seconds", above=0)
_SECONDS_OR_0 = _number_of("seconds")
_MILLISECONDS = _number_of("milliseconds")
_COUNT_OR_0 = _number_of("requests", whole=True)
_SOCKETS_OR_0 = _number_of("sockets", whole=True)
_BYTES = _number_of("bytes", whole=True)


@dataclass(frozen=True)
class HttpSettings:
    """What `ONLOOP["HTTP"]` may hold, with the defaults (docs/http.md).

    Seconds to connect (`CONNECT_TIMEOUT`), for the next piece of a response (`READ_TIMEOUT`),
    to send a piece (`WRITE_TIMEOUT`), to wait for a place (`POOL_TIMEOUT`), and for a request
    in all, with retries, redirects and the body (`DEADLINE`, 0 for no end).

    `MAX_CONNECTIONS`: requests under way at once on an event loop; `MAX_PER_HOST`: to one host
    and port; `MAX_WAITING`: how many may wait for that. `MAX_IDLE` connections are kept for
    `IDLE_TIMEOUT` seconds.

    `RETRIES`: further attempts after one that failed; `BACKOFF`: the longest wait before the
    first of them, doubled up to `BACKOFF_MAX`; `RETRY_AFTER_MAX`: the longest wait that a
    server may ask for. Seconds, all three.

    `CIRCUIT_FAILURES`: failures in a row after which a host is left alone for `CIRCUIT_RESET`
    seconds; 0 for never.

    Addresses that come from users: `PUBLIC_PORTS`; `PUBLIC_ALLOW`, networks that are allowed
    though they are not public; `PUBLIC_MAX_BODY`, bytes of a response's body.
    """

    CONNECT_TIMEOUT: float = _setting(5.0, _SECONDS)
    READ_TIMEOUT: float = _setting(10.0, _SECONDS)
    WRITE_TIMEOUT: float = _setting(10.0, _SECONDS)
    POOL_TIMEOUT: float = _setting(5.0, _SECONDS)
    DEADLINE: float = _setting(30.0, _SECONDS_OR_0)
    MAX_CONNECTIONS: int = _setting(100, _number_of("requests", above=0, whole=True))
    MAX_PER_HOST: int = _setting(20, _number_of("requests", above=0, whole=True))
    MAX_WAITING: int = _setting(1000, _COUNT_OR_0)
    MAX_IDLE: int = _setting(20, _number_of("connections", whole=True))
    IDLE_TIMEOUT: float = _setting(5.0, _SECONDS)
    RETRIES: int = _setting(2, _number_of("attempts", whole=True))
    BACKOFF: float = _setting(0.2, _SECONDS_OR_0)
    BACKOFF_MAX: float = _setting(5.0, _SECONDS_OR_0)
    RETRY_AFTER_MAX: float = _setting(10.0, _SECONDS_OR_0)
    CIRCUIT_FAILURES: int = _setting(10, _number_of("failures", whole=True))
    CIRCUIT_RESET: float = _setting(10.0, _SECONDS)
    PUBLIC_PORTS: tuple[int, ...] = _setting((80, 443), _ports)
    PUBLIC_ALLOW: tuple[Network, ...] = _setting((), _networks)
    PUBLIC_MAX_BODY: int = _setting(10 * MIB, _BYTES)


@dataclass(frozen=True)
class Settings:
    """What `settings.ONLOOP` may hold, with the defaults.

    `SYNC_VIEWS`: where plain `def` views run, "thread" or "loop". `ON_LOOP` and `IN_THREAD`:
    dotted prefixes (`"django.contrib.admin"`) of views that run there whatever `SYNC_VIEWS`
    says, and of middleware, which is on the loop unless `IN_THREAD` says otherwise.

    `LIFESPAN`: dotted paths of functions without arguments that return an async context
    manager, entered at start-up and left at shutdown.

    `TURN_TIMEOUT`: seconds that a statement waits for the connection of its transaction while
    another task or thread uses it. `SQLITE_INLINE_MS`: milliseconds that a SQLite statement may
    hold the loop before it is moved to a worker thread; 0 sends every query there. `STALL_MS`:
    milliseconds that code may hold the loop before the watchdog names it; 0 switches it off.

    `JSON_ERRORS`: prefixes of paths where `JSONErrorMiddleware` answers everybody in JSON.

    `IMPLICIT_IO`: what becomes of a coroutine that waits for the database without an `await`,
    "allow" or "raise".

    Limits (docs/limits.md): `MAX_BODY`, bytes of a request's body; `BODY_TIMEOUT` and
    `CHUNK_TIMEOUT`, seconds to wait for all of it and for its next piece; `REQUEST_TIMEOUT`,
    seconds until the response begins, 0 for no end; `MAX_REQUESTS` that are served at once on
    an event loop and `MAX_QUEUE` that wait for that, for `QUEUE_TIMEOUT` seconds at most.

    `READY_TIMEOUT`: seconds that a health check waits for the databases (docs/health.md).

    Bearer tokens (docs/bearer-tokens.md): `BEARER_PUBLIC_PATHS`, prefixes of paths that need
    none; `BEARER_SESSIONS`, whether a session does in place of one; `BEARER_REALM`;
    `BEARER_MAX_FAILURES`, how many invalid ones an address may send in `BEARER_FAILURE_WINDOW`
    seconds, 0 for any number; `BEARER_CLIENT_ADDRESS`, the dotted path of a function that names
    the address of a request's client.

    Sockets (docs/websocket-limits.md): `SOCKET_TICKET_LIFETIME`, seconds in which a ticket can
    be used; `SOCKET_MAX_MESSAGE`, bytes of a message; `SOCKET_RATE`, messages a second that a
    socket may send, `SOCKET_BURST` of them at once; `SOCKET_MAX_PER_USER` and, of those who are
    not logged in, `SOCKET_MAX_PER_ADDRESS`: how many in a process; seconds in which a client
    takes what was sent (`SOCKET_SEND_TIMEOUT`), a consumer does something about a message
    (`SOCKET_CONSUMER_TIMEOUT`), somebody sends something (`SOCKET_IDLE_TIMEOUT`), and a
    consumer ends (`SOCKET_CLOSE_TIMEOUT`). 0 is no limit, but for the first two and the last.

    Celery (docs/celery.md), in workers with `onloop.celery:TaskPool`: `SYNC_TASKS`, where plain
    `def` tasks run, "thread" or "loop", unless a mark or a prefix says otherwise;
    `TASK_THREADS`, how many threads a worker has for those.

    Rooms (docs/rooms.md): `ROOMS_HEARTBEAT`, seconds between looks into the database for what
    was not announced; who has been silent for four of them is not there any more.

    `HTTP`: what `onloop.http` does, a dictionary (`HttpSettings`).

    Tasks (docs/tasks.md): `TASKS_PERMISSION`, the dotted path of a function that decides who
    may see a job and cancel it.
    """

    SYNC_VIEWS: str = _setting("thread", _choice("thread", "loop"))
    ON_LOOP: tuple[str, ...] = _setting((), _DOTTED)
    IN_THREAD: tuple[str, ...] = _setting((), _DOTTED)
    LIFESPAN: tuple[str, ...] = _setting((), _DOTTED)
    TURN_TIMEOUT: float = _setting(30.0, _SECONDS)
    SQLITE_INLINE_MS: float = _setting(5.0, _MILLISECONDS)
    STALL_MS: float = _setting(50.0, _MILLISECONDS)
    JSON_ERRORS: tuple[str, ...] = _setting((), _paths)
    IMPLICIT_IO: str = _setting("allow", _choice("allow", "raise"))
    MAX_BODY: int = _setting(100 * MIB, _BYTES)
    BODY_TIMEOUT: float = _setting(600.0, _SECONDS)
    CHUNK_TIMEOUT: float = _setting(30.0, _SECONDS)
    REQUEST_TIMEOUT: float = _setting(300.0, _SECONDS_OR_0)
    MAX_REQUESTS: int = _setting(1000, _number_of("requests", above=0, whole=True))
    MAX_QUEUE: int = _setting(1000, _COUNT_OR_0)
    QUEUE_TIMEOUT: float = _setting(10.0, _SECONDS)
    READY_TIMEOUT: float = _setting(2.0, _SECONDS)
    BEARER_PUBLIC_PATHS: tuple[str, ...] = _setting((), _paths)
    BEARER_SESSIONS: bool = _setting(False, _flag)
    BEARER_REALM: str = _setting("api", _quotable)
    BEARER_MAX_FAILURES: int = _setting(20, _number_of("failures", whole=True))
    BEARER_FAILURE_WINDOW: float = _setting(60.0, _SECONDS)
    BEARER_CLIENT_ADDRESS: str = _setting("", _function)
    SOCKET_TICKET_LIFETIME: float = _setting(30.0, _SECONDS)
    SOCKET_MAX_MESSAGE: int = _setting(MIB, _BYTES)
    SOCKET_RATE: float = _setting(100.0, _number_of("messages a second"))
    SOCKET_BURST: int = _setting(1000, _number_of("messages", above=0, whole=True))
    SOCKET_MAX_PER_USER: int = _setting(100, _SOCKETS_OR_0)
    SOCKET_MAX_PER_ADDRESS: int = _setting(1000, _SOCKETS_OR_0)
    SOCKET_SEND_TIMEOUT: float = _setting(20.0, _SECONDS_OR_0)
    SOCKET_CONSUMER_TIMEOUT: float = _setting(300.0, _SECONDS_OR_0)
    SOCKET_IDLE_TIMEOUT: float = _setting(0.0, _SECONDS_OR_0)
    SOCKET_CLOSE_TIMEOUT: float = _setting(10.0, _SECONDS)
    SYNC_TASKS: str = _setting("thread", _choice("thread", "loop"))
    TASK_THREADS: int = _setting(20, _number_of("threads", above=0, whole=True))
    ROOMS_HEARTBEAT: float = _setting(5.0, _SECONDS)
    HTTP: HttpSettings = _setting(HttpSettings(), _group(HttpSettings))  # noqa: RUF009 - frozen
    TASKS_PERMISSION: str = _setting("", _function)


ENGINES = ("onloop.db.backends.postgresql", "onloop.db.backends.sqlite3")


def check_engines() -> None:
    """Raise `ImproperlyConfigured` for an `ENGINE` in `DATABASES` that Onloop does not have.

    Django would say it too, and name its own engines as the cure.
    """
    from django.conf import settings  # noqa: PLC0415 - importable without settings

    for alias, database in settings.DATABASES.items():
        engine = database.get("ENGINE") or ""
        if engine.startswith("onloop.") and engine not in ENGINES:
            raise ImproperlyConfigured(
                f"DATABASES[{alias!r}]['ENGINE']: there is no {engine!r}. Onloop's engines are "
                f"{' and '.join(map(repr, ENGINES))}; other databases work with Django's own "
                "engine, and block the event loop."
            )


_loaded: Settings | None = None


def get() -> Settings:
    """Return the checked settings.

    Raises `ImproperlyConfigured` for a name or a value that `ONLOOP` does not know.
    """
    global _loaded  # noqa: PLW0603 - read once, reset by `reload`
    if _loaded is None:
        from django.conf import settings  # noqa: PLC0415 - importable without settings

        _loaded = _check(getattr(settings, "ONLOOP", {}))
    return _loaded


def reload(**kwargs: Any) -> None:
    """Forget what was read; the receiver of `setting_changed`."""
    global _loaded  # noqa: PLW0603 - see `get`
    if kwargs.get("setting", "ONLOOP") == "ONLOOP":
        _loaded = None


def _check(given: Any) -> Settings:
    return _read(Settings, given)


def _read(group: type[T], given: Any, inside: str = "") -> T:
    """Check the dictionary `given`, which is ONLOOP itself or what it holds as `inside`."""
    place = f'ONLOOP["{inside}"]' if inside else "ONLOOP"
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"The setting {place} must be a dictionary.")
    checks = {entry.name: entry.metadata["check"] for entry in fields(group)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(checks))
    if unknown:
        raise ImproperlyConfigured(
            f"Unknown names in the setting {place}: {', '.join(unknown)}. "
            f"Known are: {', '.join(sorted(checks))}."
        )
    # Such that a message that says ONLOOP["NAME"] names the whole place.
    within = f'{inside}"]["' if inside else ""
    return group(**{name: checks[name](within + name, value) for name, value in given.items()})
