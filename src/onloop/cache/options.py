"""What `LOCATION` and `OPTIONS` of a cache come to on the event loop.

The names are Django's, which hands them to redis-py. What only redis-py's synchronous client
can use is turned into its asynchronous counterpart, left out, or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import AbstractConnection

# Seconds for an answer and for opening a connection; redis-py has none before its version 8.
TIMEOUT_S = 5.0
DEFAULT_TIMEOUTS = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
# Connections to one server, of one event loop.
MAX_CONNECTIONS = 10

# What Django's client takes for itself, or is about its own pool.
_NOT_HERE = frozenset(
    {"serializer", "pool_class", "parser_class", "timeout", "retry", "retry_on_error"}
    | {"retry_on_timeout"}
)


@dataclass(frozen=True)
class Server:
    """How connections to one server are made."""

    make: Callable[[], AbstractConnection]
    connect_s: float
    answer_s: float
    max_connections: int
    place: str


def server(url: str, options: dict[str, Any]) -> Server:
    """Read the address of a server, and the options for it.

    Raises `ImproperlyConfigured` for a class of connections that blocks, and `ValueError` for
    an address that redis-py does not know.
    """
    wanted = DEFAULT_TIMEOUTS | {
        name: value for name, value in options.items() if name not in _NOT_HERE
    }
    if "connection_class" in wanted:
        wanted["connection_class"] = _connection_class(wanted["connection_class"])
    # Not pooled by it: it knows the addresses and what a connection is made from.
    pool = redis.asyncio.ConnectionPool.from_url(url, **wanted)
    kwargs = dict(pool.connection_kwargs)
    answer_s = _seconds("socket_timeout", kwargs.pop("socket_timeout", None))
    connect_s = _seconds("socket_connect_timeout", kwargs.get("socket_connect_timeout"))
    # They move a pool's connections to another server, and there is no pool.
    for name in [name for name in kwargs if "maint_notifications" in name]:
        del kwargs[name]
    kind = pool.connection_class

    def make() -> AbstractConnection:
        # Answers are waited for by the lane, which has a clock of its own.
        return kind(socket_timeout=None, **kwargs)

    place = (
        kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
    )
    limit = pool.max_connections if _limits(url, options) else MAX_CONNECTIONS
    return Server(make, connect_s, answer_s, limit, place)


def _limits(url: str, options: dict[str, Any]) -> bool:
    return bool(options.get("max_connections")) or "max_connections=" in url


def _seconds(name: str, value: Any) -> float:
    """Return a time-out; one that is None or 0 would let a request hang for ever."""
    seconds = TIMEOUT_S if value is None else float(value)
    if seconds <= 0:
        raise ImproperlyConfigured(
            f"OPTIONS[{name!r}] of a cache has to be seconds, more than 0, not {value!r}."
        )
    return seconds


def _connection_class(given: Any) -> Any:
    """The asynchronous class of that name, if it is one of redis-py's blocking ones."""
    if isinstance(given, type) and issubclass(given, AbstractConnection):
        return given
    name = getattr(given, "__name__", repr(given))
    if getattr(given, "__module__", "") == "redis.connection":
        found = getattr(redis.asyncio.connection, name, None)
        if found is not None:
            return found
    raise ImproperlyConfigured(
        f"OPTIONS['connection_class'] of a cache is {name}, which blocks the event loop. "
        "Use one of redis.asyncio.connection, or leave it to the address: redis://, rediss://, "
        "unix://."
    )


def frozen(value: Any) -> Hashable:
    """Something hashable that is equal for equal options: what can share connections."""
    if isinstance(value, dict):
        return tuple(sorted((str(key), frozen(entry)) for key, entry in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return type(value), value


class _Same:
    """Stands for something that cannot be hashed, and is equal to itself only."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


def servers(urls: Iterable[str], options: dict[str, Any]) -> list[Server]:
    return [server(url, options) for url in urls]
