"""The one table of foreign names that Onloop binds to its own.

Django calls asgiref's `sync_to_async` in some twenty modules to get off the event loop. The
table says, for each module, where its calls run, and binds the name there; everything that
Onloop changes in Django, asgiref or Channels stands here and nowhere else. It is additive and
can be taken back (`uninstall`), and a system check compares it with what is installed.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib.util
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

import asgiref.sync
import django
from django.apps import apps

from onloop import bridge, taskfactory
from onloop.asgi.places import place_of, session_runs_in_thread
from onloop.cache import places as cache_places
from onloop.channels import consumers
from onloop.db import leaving, queryset, receivers, scope, transaction
from onloop.files import blocks, filesystem, methods, uploads
from onloop.guard import get_running_loop

_MISSING = object()


def on_loop(
    func: Callable[..., Any], *, thread_sensitive: bool = True, executor: Any = None
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Stand for `sync_to_async` in Django's modules: made anew for every call, so kept lean."""
    return functools.partial(bridge.run, func)


def by_place(
    func: Callable[..., Any], *, thread_sensitive: bool = True
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Views under Django's own async handlers run where they would under Onloop's."""
    if place_of(func) == "loop":
        return on_loop(func)
    return asgiref.sync.sync_to_async(func, thread_sensitive=thread_sensitive)


def adapt_method_mode(
    self: Any,
    is_async: bool,
    method: Any,
    method_is_async: bool | None = None,
    debug: bool = False,
    name: str | None = None,
) -> Any:
    """`BaseHandler.adapt_method_mode`: sync code in an async chain runs on the loop."""
    if method_is_async is None:
        method_is_async = asgiref.sync.iscoroutinefunction(method)
    adapted = original(_HANDLERS, "BaseHandler.adapt_method_mode")(
        self, is_async, method, method_is_async, debug, name
    )
    return on_loop(method) if is_async and not method_is_async else adapted


def by_session_store(
    func: Callable[..., Any], *, thread_sensitive: bool = True
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Sessions in the database, caches or cookies run on the loop, others in a thread."""
    store = getattr(func, "__self__", None)
    if not session_runs_in_thread(store):
        return on_loop(func)
    return asgiref.sync.sync_to_async(func, thread_sensitive=thread_sensitive)


def get_hasher(algorithm: Any = "default") -> Any:
    """`django.contrib.auth.hashers.get_hasher`, whose costly part runs in a thread in a bridge.

    0.2 s of CPU hold no loop then. It is Django's own hasher, of its own class: callers set
    attributes of it, and its methods those of its class.
    """
    hasher = original("django.contrib.auth.hashers", "get_hasher")(algorithm)
    if bridge.active() and "onloop_threaded" not in vars(hasher):
        hasher.onloop_threaded = True
        for name in ("encode", "verify", "harden_runtime"):
            setattr(hasher, name, functools.partial(_call_threaded, hasher, name))
    return hasher


def _call_threaded(hasher: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    method = inspect.getattr_static(type(hasher), name)
    if hasattr(type(method), "__get__"):
        method = method.__get__(hasher, type(hasher))
    if not bridge.active():
        return method(*args, **kwargs)
    call = functools.partial(method, *args, **kwargs)
    return bridge.await_(asyncio.get_running_loop().run_in_executor(None, call))


def call_async_to_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
    """`asgiref.sync.AsyncToSync.__call__`: inside a bridge, await instead of refusing.

    Elsewhere (WSGI, a command, a test, a thread) asgiref finds or makes a loop; there, the
    coroutine runs in a bridge, so that async code can do what it can under ASGI.
    """
    if not self.force_new_loop and bridge.active():
        return bridge.await_(self.awaitable(*args, **kwargs))
    bridged = copy.copy(self)
    bridged.awaitable = functools.partial(_in_bridge, self.awaitable)
    with scope.hop():
        return original("asgiref.sync", "AsyncToSync.__call__")(bridged, *args, **kwargs)


async def call_sync_to_async(self: Any, *args: Any, **kwargs: Any) -> Any:
    """`asgiref.sync.SyncToAsync.__call__`, with what it copies back put right."""
    with scope.hop():
        return await original("asgiref.sync", "SyncToAsync.__call__")(self, *args, **kwargs)


async def _in_bridge(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    taskfactory.install_task_factory(asyncio.get_running_loop())
    token = taskfactory.bridge_tasks.set(True)  # not for the caller: asgiref copies it back
    try:
        return await bridge.run(bridge.await_, func(*args, **kwargs))
    finally:
        taskfactory.bridge_tasks.reset(token)


@dataclass(frozen=True)
class Binding:
    """One foreign name and what stands for it.

    `name` may be dotted (`Class.method`). `value` is None where the name is left as it is and
    stands here to say so. `app`: only where this app is installed. `package`: only where this
    module can be imported. `added`: a name that Django does not have.
    """

    module: str
    name: str
    value: Any
    where: Literal["loop", "thread", "depends", "ours"] = "loop"
    app: str | None = None
    package: str | None = None
    since: tuple[int, int] = (5, 2)
    until: tuple[int, int] = (99, 0)
    added: bool = False

    @property
    def applies(self) -> bool:
        return (
            self.since <= django.VERSION[:2] < self.until
            and (self.app is None or apps.is_installed(self.app))
            and (self.package is None or _can_import(self.package))
        )


@functools.cache
def _can_import(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of the package that it is in
        return False


def _sites(where: Literal["loop", "thread"], *modules: str, **kwargs: Any) -> list[Binding]:
    value = on_loop if where == "loop" else None
    return [Binding(module, "sync_to_async", value, where, **kwargs) for module in modules]


def _storage_methods() -> list[Binding]:
    """The methods of `FileSystemStorage` that ask the disk."""
    module, prefix = "django.core.files.storage.filesystem", "FileSystemStorage."
    names = ("delete", "exists", "listdir", "size",
             "get_accessed_time", "get_created_time", "get_modified_time")  # fmt: skip
    ours = {name: getattr(filesystem, name) for name in names}
    ours |= {"_open": filesystem.open_, "_save": filesystem.save_whole}
    return [
        *(Binding(module, prefix + name, value, "ours") for name, value in ours.items()),
        Binding(module, "file_move_safe", filesystem.move, "ours"),
    ]


def _file_methods() -> list[Binding]:
    ours = {name: getattr(methods, name)
            for name in ("aread", "achunks", "awrite", "aseek", "aopen", "aclose")}  # fmt: skip
    ours |= {"__aenter__": methods.aenter, "__aexit__": methods.aleave}
    of_fields = {"asave": methods.field_asave, "adelete": methods.field_adelete}
    return [
        *(Binding("django.core.files.base", f"File.{name}", value, "ours", added=True)
          for name, value in ours.items()),
        *(Binding("django.db.models.fields.files", f"FieldFile.{name}", value, "ours",
                  added=True) for name, value in of_fields.items()),
    ]  # fmt: skip


_AUTH = "django.contrib.auth"
_CHANNELS = "channels.consumer"
_HANDLERS = "django.core.handlers.base"
_TRANSACTION = "django.db.transaction"

TABLE: tuple[Binding, ...] = (
    # Where Django's own `sync_to_async` calls run.
    *_sites(
        "loop",
        "django.core.handlers.exception",
        "django.db.models.base",
        "django.db.models.fields.related_descriptors",
        "django.db.models.query",
        "django.dispatch.dispatcher",
        "django.http.response",
        "django.utils.deprecation",
    ),
    *_sites("loop", "django.core.paginator", since=(6, 0)),
    *_sites("loop", "django.contrib.auth.backends", app=_AUTH),
    *_sites("loop", "django.contrib.auth.decorators", app=_AUTH),
    *_sites("loop", "django.contrib.auth.middleware", app=_AUTH, until=(6, 0)),
    *_sites("loop", "django.contrib.contenttypes.fields", app="django.contrib.contenttypes"),
    *_sites("loop", "django.contrib.sessions.backends.db", app="django.contrib.sessions"),
    Binding(_HANDLERS, "sync_to_async", by_place, "depends"),
    Binding(
        "django.contrib.sessions.backends.base", "sync_to_async", by_session_store, "depends",
        app="django.contrib.sessions",
    ),
    # Caches run on the loop or in threads, by what they are.
    Binding("django.core.cache.backends.base", "sync_to_async", cache_places.sync_to_async,
            "depends"),
    Binding("django.core.cache", "CacheHandler.create_connection",
            cache_places.create_connection, "ours"),
    # Hashing a password is CPU work; files block; tasks are as their backend says.
    *_sites("thread", "django.contrib.auth", "django.contrib.auth.hashers",
            app=_AUTH, since=(6, 0)),
    *_sites("thread", "django.contrib.staticfiles.handlers", app="django.contrib.staticfiles"),
    *_sites("thread", "django.core.handlers.asgi", "django.test.client"),
    *_sites("thread", "django.tasks.base", "django.tasks.backends.base", since=(6, 0)),
    # Files: what asks a disk hops into a thread in a bridge.
    *_file_methods(),
    *_storage_methods(),
    Binding("django.core.files.storage.base", "Storage.save", filesystem.save, "ours"),
    Binding("django.core.files.uploadhandler", "TemporaryUploadedFile",
            uploads.TemporaryUploadedFile, "ours"),
    Binding("django.http.response", "FileResponse._set_streaming_content",
            blocks.set_streaming_content, "ours"),
    # Channels, whose package's name a project may have for an app of its own.
    Binding("channels.db", "sync_to_async", consumers.close_where_open, "loop",
            package=_CHANNELS),
    Binding("channels.db", "DatabaseSyncToAsync.__call__",
            consumers.call_database_sync_to_async, "ours", package=_CHANNELS),
    Binding(_CHANNELS, "await_many_dispatch", consumers.await_many_dispatch, "ours",
            package=_CHANNELS),
    # What else is Onloop's.
    Binding("asgiref.sync", "AsyncToSync.__call__", call_async_to_sync, "ours"),
    Binding("asgiref.sync", "SyncToAsync.__call__", call_sync_to_async, "ours"),
    Binding(_HANDLERS, "BaseHandler.adapt_method_mode", adapt_method_mode, "ours"),
    Binding(_HANDLERS, "BaseHandler.make_view_atomic", transaction.make_view_atomic, "ours"),
    Binding("django.contrib.auth.hashers", "get_hasher", get_hasher, "ours", app=_AUTH),
    Binding("django.db.models", "QuerySet.alist", queryset.alist, "ours", added=True),
    Binding("django.db.models.manager", "BaseManager.alist", queryset.manager_alist, "ours",
            added=True),
    Binding(_TRANSACTION, "Atomic.__aenter__", transaction.aenter, "ours", added=True),
    Binding(_TRANSACTION, "Atomic.__aexit__", transaction.aleave, "ours", added=True),
    Binding(_TRANSACTION, "Atomic.__call__", transaction.decorate, "ours"),
    Binding(_TRANSACTION, "Atomic.__enter__", transaction.enter, "ours"),
    Binding(_TRANSACTION, "Atomic.__exit__", leaving.leave, "ours"),
    Binding("django.dispatch.dispatcher", "_run_parallel", receivers.run_parallel, "ours",
            since=(6, 0)),
    Binding("django.utils.asyncio", "get_running_loop", get_running_loop, "ours"),
)  # fmt: skip

_originals: dict[tuple[str, str], Any] = {}


def original(module: str, name: str) -> Any:
    """Return what a bound name was before."""
    return _originals[module, name]


def install() -> None:
    """Bind every name of the table that applies to the installed Django and apps."""
    for entry in TABLE:
        key = (entry.module, entry.name)
        if entry.value is None or not entry.applies or key in _originals:
            continue
        owner, name = _owner(entry)
        before = vars(owner).get(name, _MISSING)
        if before is _MISSING and not entry.added and not hasattr(owner, name):
            continue  # `missing` reports it
        _originals[key] = (
            before if before is not _MISSING or entry.added else getattr(owner, name)
        )
        setattr(owner, name, entry.value)


def uninstall() -> None:
    """Put every bound name back as it was."""
    for entry in reversed(TABLE):  # one may have been inherited from another
        before = _originals.pop((entry.module, entry.name), None)
        if before is None:
            continue
        owner, name = _owner(entry)
        delattr(owner, name)  # what was inherited shows again
        if before is not _MISSING and getattr(owner, name, None) is not before:
            setattr(owner, name, before)


def missing() -> list[str]:
    """Name the entries that apply but whose target the installed Django does not have."""
    gone = []
    for entry in TABLE:
        if not entry.applies:
            continue
        try:
            owner, name = _owner(entry)
        except (ImportError, AttributeError):
            gone.append(f"{entry.module}.{entry.name}")
            continue
        if not entry.added and not hasattr(owner, name):
            gone.append(f"{entry.module}.{entry.name}")
    return gone


def _owner(entry: Binding) -> tuple[Any, str]:
    owner: Any = importlib.import_module(entry.module)
    *path, name = entry.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, name
