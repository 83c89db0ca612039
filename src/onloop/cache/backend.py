"""`RedisCache`: Django's cache API on Redis, waiting on the event loop where there is one.

What is stored is what Django's own Redis cache stores, so that the two read each other's
values. The `a` methods wait on the loop; the synchronous ones do so inside a bridge, and
elsewhere (threads, commands, WSGI) are Django's, on redis-py's synchronous client.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.core.cache.backends import redis as stock
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.utils.functional import cached_property

from onloop import bridge
from onloop.cache.clients import Client, client_for
from onloop.waiting import running_loop

F = TypeVar("F", bound=Callable[..., Any])

# Synchronous clients of this process: they are made for threads, and know of forks.
_stock_clients: dict[Hashable, Any] = {}


def _where_it_runs(method: F) -> F:
    """Wait on the loop inside a bridge, block elsewhere, refuse to block a loop."""
    name = method.__name__

    @functools.wraps(method)
    def call(self: RedisCache, *args: Any, **kwargs: Any) -> Any:
        if bridge.active():
            return bridge.await_(getattr(self, f"a{name}")(*args, **kwargs))
        if running_loop() is not None and not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
            raise SynchronousOnlyOperation(
                f"You cannot call this from an async context: cache.{name}() is called on an "
                f"event loop, outside a bridge, and would block it. Use `await "
                f"cache.a{name}()`, or run synchronous code with `await "
                "onloop.bridge.run(function, ...)`."
            )
        return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]


class RedisCache(stock.RedisCache):
    """Django's `RedisCache`, with the same settings, that waits on the event loop.

    `OPTIONS` beyond Django's: none. On the loop `max_connections` is 10 by default, for one
    server and one event loop, and `socket_timeout` and `socket_connect_timeout` are 5 seconds.

    Raises what redis-py raises (`redis.exceptions.ConnectionError`, `TimeoutError`) where Redis
    does not answer, and `ImproperlyConfigured` where the package is missing.
    """

    # Django's own, which its stubs do not name.
    _class: Any
    _servers: Sequence[str]
    _options: dict[str, Any]

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        try:
            import redis.asyncio  # noqa: F401, PLC0415 - an extra
        except ImportError as exc:
            raise ImproperlyConfigured(
                "onloop.cache.RedisCache needs the package redis, which is not installed: "
                'pip install "django-onloop[redis]".'
            ) from exc
        super().__init__(server, params)

    @cached_property
    def _key(self) -> Hashable:
        """What caches have in common that share connections."""
        from onloop.cache.options import frozen  # noqa: PLC0415 - it needs `redis`

        return self._class, tuple(self._servers), frozen(self._options)

    @cached_property
    def _cache(self) -> Any:
        """Django's client. It blocks; a new one for each request would connect each time."""
        from onloop.cache.options import DEFAULT_TIMEOUTS  # noqa: PLC0415 - it needs `redis`

        try:
            return _stock_clients[self._key]
        except KeyError:
            client = self._class(self._servers, **(DEFAULT_TIMEOUTS | self._options))
            return _stock_clients.setdefault(self._key, client)

    def _servers_on_loop(self) -> Any:
        from onloop.cache.options import servers  # noqa: PLC0415 - it needs `redis`

        return servers(self._servers, self._options)

    def _client(self) -> Client:
        return client_for(self._key, self._servers_on_loop)

    async def _ask(self, *commands: tuple[Any, ...], write: bool = False) -> list[Any]:
        replies = await self._client().ask(*commands, write=write)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    # --- one key ----------------------------------------------------------------------------

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        key = self.make_and_validate_key(key, version=version)
        (found,) = await self._ask(("GET", key))
        return default if found is None else self._cache._serializer.loads(found)

    async def aset(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        key = self.make_and_validate_key(key, version=version)
        expiry = self.get_backend_timeout(timeout)
        value = self._cache._serializer.dumps(value)
        if expiry == 0:
            await self._ask(("DEL", key), write=True)
        else:
            await self._ask(_set(key, value, expiry), write=True)

    async def aadd(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        key = self.make_and_validate_key(key, version=version)
        expiry = self.get_backend_timeout(timeout)
        value = self._cache._serializer.dumps(value)
        if expiry == 0:
            # As Django answers, and without a moment in which the key is there.
            (found,) = await self._ask(("EXISTS", key), write=True)
            return not found
        (done,) = await self._ask((*_set(key, value, expiry), "NX"), write=True)
        return done is not None

    async def atouch(
        self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        key = self.make_and_validate_key(key, version=version)
        expiry = self.get_backend_timeout(timeout)
        command = ("PERSIST", key) if expiry is None else ("EXPIRE", key, expiry)
        return bool((await self._ask(command, write=True))[0])

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        key = self.make_and_validate_key(key, version=version)
        return bool((await self._ask(("DEL", key), write=True))[0])

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        key = self.make_and_validate_key(key, version=version)
        return bool((await self._ask(("EXISTS", key)))[0])

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        key = self.make_and_validate_key(key, version=version)
        if not (await self._ask(("EXISTS", key), write=True))[0]:
            raise ValueError(f"Key '{key}' not found.")
        (number,) = await self._ask(("INCRBY", key, delta), write=True)
        return int(number)

    # --- many keys, one round trip ----------------------------------------------------------

    async def aget_many(
        self, keys: Iterable[Any], version: int | None = None
    ) -> dict[Any, Any]:
        made = {self.make_and_validate_key(key, version=version): key for key in keys}
        if not made:
            return {}
        (found,) = await self._ask(("MGET", *made))
        loads = self._cache._serializer.loads
        return {
            key: loads(value)
            for key, value in zip(made.values(), found, strict=True)
            if value is not None
        }

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        if not data:
            return []
        dumps = self._cache._serializer.dumps
        made = {
            self.make_and_validate_key(key, version=version): dumps(value)
            for key, value in data.items()
        }
        expiry = self.get_backend_timeout(timeout)
        if expiry is None:
            flat = (part for item in made.items() for part in item)
            await self._ask(("MSET", *flat), write=True)
        elif expiry == 0:
            await self._ask(("DEL", *made), write=True)
        else:
            sets = [_set(key, value, expiry) for key, value in made.items()]
            *_, done = await self._ask(("MULTI",), *sets, ("EXEC",), write=True)
            for reply in done:
                if isinstance(reply, Exception):
                    raise reply
        return []

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        made = [self.make_and_validate_key(key, version=version) for key in keys]
        if made:
            await self._ask(("DEL", *made), write=True)

    async def aclear(self) -> bool:  # type: ignore[override] # as Django's `clear`
        return bool((await self._ask(("FLUSHDB",), write=True))[0])

    # --- one computes, others wait ----------------------------------------------------------

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Fetch a key, or store `default` or what it returns, if it can be called.

        Of the tasks of one loop that ask for a key at the same time, one asks Redis and calls
        `default`; each gets a value of its own. `default` may be an `async def` function. What
        it raises, all of them raise; if the one is cancelled, another one begins anew.
        """
        made = self.make_and_validate_key(key, version=version)
        serializer = self._cache._serializer

        async def work() -> Any:
            (found,) = await self._ask(("GET", made))
            if found is not None:
                return found
            value = default
            if callable(value):
                value = await bridge.run(value)
            if inspect.isawaitable(value):
                value = await value
            stored = serializer.dumps(value)
            expiry = self.get_backend_timeout(timeout)
            if expiry != 0:
                _, found = await self._ask(
                    (*_set(made, stored, expiry), "NX"), ("GET", made), write=True
                )
            return _as_sent(stored) if found is None else found

        return serializer.loads(await self._client().flights.share(made, work))

    # --- the synchronous side ---------------------------------------------------------------

    add = _where_it_runs(stock.RedisCache.add)
    get = _where_it_runs(stock.RedisCache.get)
    set = _where_it_runs(stock.RedisCache.set)
    touch = _where_it_runs(stock.RedisCache.touch)
    delete = _where_it_runs(stock.RedisCache.delete)
    get_many = _where_it_runs(stock.RedisCache.get_many)
    get_or_set = _where_it_runs(stock.RedisCache.get_or_set)
    has_key = _where_it_runs(stock.RedisCache.has_key)
    incr = _where_it_runs(stock.RedisCache.incr)
    set_many = _where_it_runs(stock.RedisCache.set_many)
    delete_many = _where_it_runs(stock.RedisCache.delete_many)
    clear = _where_it_runs(stock.RedisCache.clear)


def _set(key: str, value: Any, expiry: Any) -> tuple[Any, ...]:
    return ("SET", key, value) if expiry is None else ("SET", key, value, "EX", expiry)


def _as_sent(value: Any) -> Any:
    """What Redis would give back of a value that was not stored."""
    return value if isinstance(value, (bytes, bytearray, memoryview)) else str(value).encode()
