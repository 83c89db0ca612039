"""The same service on stock Django, to compare with: ``STOCK=1``. Not for reading first.

Then Django's own ASGI handler, engines and cache serve it, and Channels with the layer that it
recommends. What the code has from Onloop is done by threads, as Django's and Channels'
documentation do it: each step of a transaction, and what ``onloop.rooms`` asks of the database,
is a call of ``sync_to_async``. Templates are rendered in a thread, since they read lazily.

Left out, as async code cannot read lazily on stock Django: pages that do so in a view (one
product, cancelling an order, a team), the admin's log-in by token, and jobs in this process.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from functools import wraps
from typing import Any

import django
from asgiref.sync import (
    ThreadSensitiveContext,
    async_to_sync,
    iscoroutinefunction,
    sync_to_async,
)
from django import shortcuts
from django.db import close_old_connections, transaction
from django.db.models import Manager, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.module_loading import import_string

ENGINE = "django.db.backends.postgresql"
CACHE = "django.core.cache.backends.redis.RedisCache"
LAYER = "channels_redis.core.RedisChannelLayer"
MIDDLEWARE = "workspace.stock.with_user"
# Those of stock Django that serve static files or tokens are of no use to the comparison: the
# first is synchronous, and would cost stock Django two hops a request.
LEFT_OUT = {
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "onloop.middleware.BearerTokenMiddleware",
    "onloop.middleware.JSONErrorMiddleware",
}

Application = Callable[..., Awaitable[None]]

on_commit_of_django = transaction.on_commit
_under_way: set[asyncio.Task[None]] = set()
# Of the blocks that this task is in: what is to be called on commit.
_callbacks: ContextVar[tuple[list[Callable[[], Any]], ...]] = ContextVar(
    "callbacks", default=()
)


def change(settings: dict[str, Any]) -> None:
    """What differs in the settings. Needs PostgreSQL and Redis."""
    settings["INSTALLED_APPS"].remove("onloop")
    kept = [name for name in settings["MIDDLEWARE"] if name not in LEFT_OUT]
    settings["MIDDLEWARE"][:] = [*kept, MIDDLEWARE]
    database = settings["DATABASES"]["default"]
    database["ENGINE"] = ENGINE
    database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 10}  # as Onloop's
    settings["CHANNEL_LAYERS"]["default"]["BACKEND"] = LAYER
    settings["CACHES"]["default"]["BACKEND"] = CACHE


def get_asgi_application(routes: str) -> Application:
    install()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
    django.setup()
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
    from django.core.asgi import get_asgi_application

    http = get_asgi_application()
    sockets = AuthMiddlewareStack(_in_one_thread(URLRouter(import_string(routes))))
    protocols = {"http": http, "websocket": AllowedHostsOriginValidator(sockets)}
    return ProtocolTypeRouter(protocols)  # type: ignore[no-any-return]


# --- names that Onloop adds, or that do more on it --------------------------------------------


def install() -> None:
    """Before any module of the project is imported."""
    from onloop import bridge

    QuerySet.alist = _alist
    Manager.alist = _alist
    transaction.Atomic.__aenter__ = _enter
    transaction.Atomic.__aexit__ = _leave
    transaction.Atomic.__call__ = _decorate
    transaction.on_commit = _on_commit
    shortcuts.render = _render
    bridge.run = _hop


async def _alist(self: Any) -> list[Any]:
    return [row async for row in self.all()]


async def _enter(self: Any) -> None:
    await sync_to_async(self.__enter__)()
    _callbacks.set((*_callbacks.get(), []))


async def _leave(self: Any, *exc: Any) -> None:
    """The connection is the thread's: what shall be called on commit is told to it there."""
    *outer, callbacks = _callbacks.get()
    _callbacks.set(tuple(outer))

    def leave() -> None:
        for func in callbacks:
            on_commit_of_django(func)
        self.__exit__(*exc)

    await sync_to_async(leave)()


def _decorate(
    self: Any,
    func: Callable[..., Any],
    original: Any = transaction.Atomic.__call__,
) -> Callable[..., Any]:
    if not iscoroutinefunction(func):
        return original(self, func)  # type: ignore[no-any-return]

    @wraps(func)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        async with transaction.Atomic(self.using, self.savepoint, self.durable):
            return await func(*args, **kwargs)

    return inner


def _on_commit(func: Callable[[], Any], using: str | None = None, robust: bool = False) -> None:
    threaded = async_to_sync(func) if iscoroutinefunction(func) else func
    if callbacks := _callbacks.get():
        callbacks[-1].append(threaded)
    elif iscoroutinefunction(func) and asyncio._get_running_loop() is not None:
        # Outside of a block, where the connection cannot be asked: soon, and by itself, since
        # the thread of the request ends with that.
        task = asyncio.create_task(_alone(func), context=Context())
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)
    else:
        on_commit_of_django(threaded, using, robust)


async def _alone(func: Callable[[], Awaitable[None]]) -> None:
    try:
        await func()
    finally:
        await sync_to_async(close_old_connections)()


def _render(
    request: HttpRequest,
    template_name: Any,
    context: dict[str, Any] | None = None,
    content_type: str | None = None,
    status: int | None = None,
    using: str | None = None,
) -> TemplateResponse:
    """Rendered later, by the handler, in the thread of the request."""
    return TemplateResponse(request, template_name, context, content_type, status, using=using)


async def _hop(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return await sync_to_async(fn)(*args, **kwargs)


# --- the user, and threads of sockets ---------------------------------------------------------


def with_user(
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Middleware: pages find their user read. The JSON views do not ask for one."""
    from workspace.errors import speaks_json

    async def answer(request: HttpRequest) -> HttpResponseBase:
        if not speaks_json(request):
            request.user = await request.auser()
            await sync_to_async(_read_role)(request.user)
        return await get_response(request)

    return answer


with_user.sync_capable, with_user.async_capable = False, True  # type: ignore[attr-defined]


def _read_role(user: Any) -> None:
    from accounts.roles import role_of

    role_of(user)


def _in_one_thread(application: Application) -> Application:
    """A socket's statements are on one connection, which is given back after each message."""
    from channels.consumer import AsyncConsumer

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async with ThreadSensitiveContext():
            await sync_to_async(_read_role)(scope["user"])
            await sync_to_async(close_old_connections)()
            await application(scope, receive, send)

    async def dispatch(self: Any, message: Any, original: Any = AsyncConsumer.dispatch) -> None:
        try:
            await original(self, message)
        finally:
            await sync_to_async(close_old_connections)()

    AsyncConsumer.dispatch = dispatch
    return wrapped
