"""Where Django's caches run: on the loop, or in a thread because they block.

In memory, in the database and in `onloop.cache.RedisCache` nothing blocks the loop. Any other
cache, one of a third party too, is given a class of its own by Django's `caches`: in a bridge
its methods run in the request's thread, as Django's `a` methods of it do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import asgiref.sync
from django.core.cache import CacheHandler
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from onloop import bridge
from onloop.cache.backend import RedisCache

_create_connection = CacheHandler.create_connection

_ON_LOOP = (BaseDatabaseCache, DummyCache, LocMemCache, RedisCache)
# The synchronous methods that a cache may have of its own; what it inherits calls these.
_METHODS = (
    *("add", "get", "set", "touch", "delete", "get_many", "set_many", "delete_many"),
    *("has_key", "incr", "decr", "clear", "get_or_set", "incr_version", "decr_version"),
    "close",
)  # fmt: skip


def runs_on_loop(cache: Any) -> bool:
    """Tell whether the synchronous methods of a cache may be called on the event loop.

    A class can say so itself, by `@onloop.on_loop` or `@onloop.in_thread`.
    """
    mark = getattr(type(cache), "onloop_place", None)
    if mark is not None:
        return bool(mark == "loop")
    return isinstance(cache, _ON_LOOP)


def sync_to_async(
    func: Callable[..., Any], *, thread_sensitive: bool = True
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Stand for asgiref's in Django's `a` methods of caches: on the loop where that may be."""
    if runs_on_loop(getattr(func, "__self__", None)):
        return functools.partial(bridge.run, func)
    return asgiref.sync.sync_to_async(func, thread_sensitive=thread_sensitive)


def create_connection(self: CacheHandler, alias: str) -> BaseCache:
    """`CacheHandler.create_connection`: a cache that blocks leaves the loop by itself."""
    cache = _create_connection(self, alias)
    if isinstance(cache, BaseCache) and not runs_on_loop(cache):  # type: ignore[redundant-expr]
        kind: Any = type(cache)
        cache.__class__ = _off_the_loop(kind)
    return cache


@functools.cache
def _off_the_loop(kind: type[BaseCache]) -> type[BaseCache]:
    methods = {
        name: _in_thread(getattr(kind, name))
        for name in _METHODS
        if getattr(kind, name) is not getattr(BaseCache, name)
    }
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {**names, "__doc__": kind.__doc__, **methods})


def _in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: BaseCache, *args: Any, **kwargs: Any) -> Any:
        if not bridge.active():
            return method(self, *args, **kwargs)
        hop = asgiref.sync.sync_to_async(method, thread_sensitive=True)
        return bridge.await_(hop(self, *args, **kwargs))

    return call
