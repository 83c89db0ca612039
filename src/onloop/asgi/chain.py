"""The middleware chain and the call of the view, as synchronous code in the request's bridge.

Django's own `load_middleware` either makes a chain of coroutines, which takes a thread for
every synchronous piece, or one that picks the synchronous side of everything. Here the chain
is synchronous, and what is asynchronous in it is awaited in place.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import response_for_exception
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from django.utils.log import log_response
from django.utils.module_loading import import_string

from onloop import bridge
from onloop.asgi.errors import BodyTimeout, BodyTooBig
from onloop.asgi.places import Place, middleware_runs_in_thread, place_of
from onloop.asgi.threads import call_in_thread, in_thread, thread_middleware
from onloop.bridge import await_
from onloop.db.errors import ConnectionLost, DatabaseUnavailable
from onloop.db.transaction import make_view_atomic

logger = logging.getLogger("django.request")

# How many views' places are remembered.
MAX_PLACES = 4096

Handler = Callable[[HttpRequest], Any]


class Chain(BaseHandler):
    """Mixin for a handler: Django's rules for middleware, in one bridge."""

    make_view_atomic = make_view_atomic

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain from `settings.MIDDLEWARE`."""
        self._places: dict[Any, Place] = {}
        setting_changed.connect(self._forget_places, weak=True)
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        handler = convert_exceptions(self._get_response)
        for path in reversed(settings.MIDDLEWARE):
            factory = import_string(path)
            try:
                middleware, called, adapt = _make(path, factory, handler)
            except MiddlewareNotUsed as exc:
                if settings.DEBUG:
                    logger.debug("MiddlewareNotUsed(%r): %s", path, exc)
                continue
            if middleware is None:
                raise ImproperlyConfigured(f"Middleware factory {path} returned None.")
            if hasattr(middleware, "process_view"):
                self._view_middleware.insert(0, adapt(middleware.process_view))
            if hasattr(middleware, "process_template_response"):
                self._template_response_middleware.append(
                    adapt(middleware.process_template_response)
                )
            if hasattr(middleware, "process_exception"):
                self._exception_middleware.append(adapt(middleware.process_exception))
            handler = convert_exceptions(called)
        # Assigned last: it tells that the rest is complete.
        self._middleware_chain = handler

    def _get_response(self, request: HttpRequest) -> Any:
        """Resolve and call the view, with the view, template and exception hooks around it."""
        view, args, kwargs = self.resolve_request(request)
        if hasattr(view, "onloop_limits"):
            client = getattr(request, "_onloop_client", None)
            if client is not None:  # a test's own request has none
                client.apply_limits_of(view, request)
        response = None
        for hook in self._view_middleware:
            response = hook(request, view, args, kwargs)
            if response:
                break
        if response is None:
            try:
                response = self._call_view(view, request, args, kwargs)
            except Exception as exc:
                response = self.process_exception_by_middleware(exc, request)
                if response is None:
                    raise
        self.check_response(response, view)
        if callable(getattr(response, "render", None)):
            response = self._render(response, request)
        return response

    def _render(self, response: Any, request: HttpRequest) -> Any:
        for hook in self._template_response_middleware:
            response = hook(request, response)
            owner = type(getattr(hook, "__self__", hook)).__name__
            self.check_response(response, hook, name=f"{owner}.process_template_response")
        try:
            rendered = response.render()
            return await_(rendered) if asyncio.iscoroutine(rendered) else rendered
        except Exception as exc:
            response = self.process_exception_by_middleware(exc, request)
            if response is None:
                raise
            return response

    def _call_view(
        self,
        view: Callable[..., Any],
        request: HttpRequest,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            place = self._places[view]
        except KeyError:
            if len(self._places) >= MAX_PLACES:  # a project that makes views as it goes
                self._places.clear()
            place = self._places[view] = place_of(view)
        atomic = self.make_view_atomic(view)
        if place == "thread":
            response = await_(call_in_thread(atomic, request, *args, **kwargs))
        else:
            response = atomic(request, *args, **kwargs)
        # An old decorator may hide that the view is `async def`. A transaction that was put
        # around the decorator is over by now: `check_response` then refuses, as in Django.
        if asyncio.iscoroutine(response) and (place == "awaited" or atomic is view):
            return await_(response)
        return response

    def _forget_places(self, *, setting: str, **kwargs: Any) -> None:
        if setting == "ONLOOP":
            self._places.clear()


def convert_exceptions(get_response: Handler) -> Handler:
    """Turn exceptions into responses, so that no middleware has to expect one."""

    @functools.wraps(get_response)
    def inner(request: HttpRequest) -> HttpResponseBase:
        try:
            return get_response(request)  # type: ignore[no-any-return]
        except (DatabaseUnavailable, ConnectionLost, BodyTooBig, BodyTimeout) as exc:
            if settings.DEBUG_PROPAGATE_EXCEPTIONS:
                raise
            return _refused(request, exc)
        except Exception as exc:  # noqa: BLE001 - that is its purpose
            return response_for_exception(request, exc)

    return inner


def _refused(
    request: Any, exc: DatabaseUnavailable | ConnectionLost | BodyTooBig | BodyTimeout
) -> HttpResponse:
    headers = {}
    if isinstance(exc, DatabaseUnavailable | ConnectionLost):
        headers["Retry-After"] = "1"
        status = 503
    else:
        status = exc.status
        # Who looks into `request.POST` must not have the same error again.
        request._mark_post_parse_error()
    response = HttpResponse(status=status, content_type="text/plain", headers=headers)
    response.content = response.reason_phrase
    log_response(
        "%s: %s (%s)",
        response.reason_phrase,
        request.path,
        exc,
        response=response,
        request=request,
        exception=exc if status == 503 else None,  # a client's fault has no traceback
    )
    return response


def _make(
    path: str, factory: Callable[..., Any], handler: Handler
) -> tuple[Any, Handler, Callable[[Any], Any]]:
    """Make a middleware around `handler`.

    Returns it, what is called for it in the chain, and what makes a synchronous function of one
    of its hooks.
    """
    can_sync, prefers_async = _sides(factory, path)
    if can_sync and middleware_runs_in_thread(path, factory):
        return *thread_middleware(factory, handler), _hook_in_thread
    middleware = factory(_as_async(handler) if prefers_async else handler)
    return middleware, _as_sync(middleware), _as_sync


def _sides(factory: Any, path: str) -> tuple[bool, bool]:
    """Tell whether a middleware has a sync side, and whether its async one is more natural."""
    can_sync = getattr(factory, "sync_capable", True)
    can_async = getattr(factory, "async_capable", False)
    if not can_sync and not can_async:
        raise RuntimeError(
            f"Middleware {path} must have at least one of sync_capable/async_capable set to "
            "True."
        )
    if not can_sync:
        return False, True
    if inspect.isclass(factory) and not can_async:
        # `async def __call__` without the flags: Django would call it and fail.
        is_async = iscoroutinefunction(factory.__call__)
        return not is_async, is_async
    if inspect.isclass(factory) and issubclass(factory, MiddlewareMixin):
        # Its hooks are synchronous, and its async side would call them in threads.
        return True, False
    # Somebody wrote an async side for ASGI. On Django 5.2 `RemoteUserMiddleware` looks only
    # there for the names that headers have under ASGI.
    return True, bool(can_async)


def _as_async(handler: Handler) -> Callable[[HttpRequest], Any]:
    async def get_response(request: HttpRequest) -> Any:
        # A direct call, unless the middleware awaits it in a task of its own.
        return await bridge.run(handler, request)

    return get_response


def _hook_in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    return in_thread(method) if not iscoroutinefunction(method) else _as_sync(method)


def _as_sync(method: Callable[..., Any]) -> Callable[..., Any]:
    if not iscoroutinefunction(method) and not iscoroutinefunction(
        getattr(type(method), "__call__", None)  # noqa: B004
    ):
        return method

    @functools.wraps(method, updated=())
    def awaited(*args: Any) -> Any:
        return await_(method(*args))

    if hasattr(method, "__self__"):
        awaited.__self__ = method.__self__  # type: ignore[attr-defined]
    return awaited
