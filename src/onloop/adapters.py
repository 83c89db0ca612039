"""asgiref's two adapters, on the loop: `onloop.sync_to_async` and `onloop.async_to_sync`.

asgiref's own keep meaning threads. This module must never import Django or a driver.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, overload

import asgiref.sync

from onloop import bridge

P = ParamSpec("P")
T = TypeVar("T")


@overload
def sync_to_async(
    func: Callable[P, T],
    *,
    thread_sensitive: bool = ...,
    executor: None = ...,
    context: contextvars.Context | None = ...,
) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def sync_to_async(
    func: None = ...,
    *,
    thread_sensitive: bool = ...,
    executor: None = ...,
    context: contextvars.Context | None = ...,
) -> Callable[[Callable[P, T]], Callable[P, Coroutine[Any, Any, T]]]: ...
def sync_to_async(
    func: Callable[..., Any] | None = None,
    *,
    thread_sensitive: bool = True,
    executor: None = None,
    context: contextvars.Context | None = None,
) -> Any:
    """Adapt a synchronous function for `await`: it runs on the loop, in a bridge.

    The signature is `asgiref.sync.sync_to_async`'s, as function and as decorator.
    `thread_sensitive` is accepted and always honoured: everything runs on the loop's thread.
    `context`: run inside this context instead of the caller's.

    Code that blocks (files, `requests`, `time.sleep`) belongs into a thread: use asgiref's
    own `sync_to_async` for it. Raises `TypeError` for an `executor` or an async function.
    """
    if func is None:
        return functools.partial(
            sync_to_async, thread_sensitive=thread_sensitive, executor=executor, context=context
        )
    if executor is not None:
        raise TypeError(
            "onloop.sync_to_async runs on the event loop and takes no executor. "
            "Use asgiref.sync.sync_to_async to run code in a thread."
        )
    if (
        not callable(func)  # type: ignore[redundant-expr]
        or asgiref.sync.iscoroutinefunction(func)
        or asgiref.sync.iscoroutinefunction(getattr(func, "__call__", func))  # noqa: B004
    ):
        raise TypeError("sync_to_async can only be applied to sync functions.")
    call = func if context is None else functools.partial(context.run, func)

    async def on_loop(*args: Any, **kwargs: Any) -> Any:
        return await bridge.run(call, *args, **kwargs)

    functools.update_wrapper(on_loop, func)
    if hasattr(func, "__self__"):
        # Django names the middleware behind a template response hook by it.
        on_loop.__self__ = func.__self__  # type: ignore[attr-defined]
    return on_loop


@overload
def async_to_sync(
    awaitable: Callable[P, Awaitable[T]], *, force_new_loop: bool = ...
) -> Callable[P, T]: ...
@overload
def async_to_sync(
    awaitable: None = ..., *, force_new_loop: bool = ...
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, T]]: ...
def async_to_sync(
    awaitable: Callable[..., Awaitable[Any]] | None = None, *, force_new_loop: bool = False
) -> Any:
    """Adapt an async function for synchronous callers.

    Inside a bridge it is awaited on the running loop; anywhere else it is
    `asgiref.sync.async_to_sync`, whose signature this has.
    """
    if awaitable is None:
        return functools.partial(async_to_sync, force_new_loop=force_new_loop)
    outside = asgiref.sync.async_to_sync(awaitable, force_new_loop=force_new_loop)

    @functools.wraps(awaitable)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        if not force_new_loop and bridge.active():
            return bridge.await_(awaitable(*args, **kwargs))
        return outside(*args, **kwargs)

    return waiting
