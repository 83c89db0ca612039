"""System checks: what would make Onloop wrong or slow is said at start-up."""

from __future__ import annotations

import importlib.util
import inspect
import os
import platform
import sys
import sysconfig
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands, load_command_class
from django.db import connections
from django.utils.module_loading import import_string

from onloop import conf, rebind
from onloop.db.backends.base import ScopedWrapper
from onloop.db.backends.options import answer_timeout_s, pool_options
from onloop.middleware import BearerTokenMiddleware

# What sets the user that a valid token replaces.
SESSION_USERS = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)


def register() -> None:
    checks.register(check_python)
    checks.register(check_table)
    checks.register(check_settings)
    checks.register(check_databases)
    checks.register(check_bearer_tokens)
    checks.register(check_rooms)
    checks.register(check_functions)
    checks.register(check_runserver)


def check_python(**kwargs: Any) -> list[CheckMessage]:
    problem = None
    if platform.python_implementation() != "CPython":
        problem = platform.python_implementation()
    elif (
        sysconfig.get_config_var("Py_GIL_DISABLED")
        and not getattr(sys, "_is_gil_enabled", lambda: True)()
    ):
        problem = "a free-threaded build of Python"
    if problem is None:
        return []
    return [
        Error(
            f"Onloop does not support {problem} yet.",
            hint="Use CPython 3.11 or later with the global interpreter lock.",
            id="onloop.E001",
        )
    ]


def check_table(**kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = [
        Error(
            f"There is no {name}, which Onloop binds.",
            hint="Use versions of Django and Channels that this version of Onloop supports.",
            id="onloop.E002",
        )
        for name in rebind.missing()
    ]
    if os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        messages.append(
            checks.Warning(
                "DJANGO_ALLOW_ASYNC_UNSAFE is set: queries outside a bridge block the loop.",
                hint="Unset it; inside a bridge synchronous code may wait without it.",
                id="onloop.W001",
            )
        )
    return messages


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    try:
        conf.get()
    except ImproperlyConfigured as exc:
        return [Error(str(exc), id="onloop.E003")]
    if "HTTP" in getattr(settings, "ONLOOP", {}) and importlib.util.find_spec("httpx") is None:
        return [
            checks.Warning(
                'ONLOOP["HTTP"] has no effect: httpx is not installed.',
                hint='Install it with Onloop: pip install "django-onloop[http]".',
                id="onloop.W005",
            )
        ]
    return []


def check_databases(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for alias in connections:
        settings_dict = connections.settings[alias]
        engine = settings_dict["ENGINE"]
        if engine == "django.db.backends.dummy":
            continue
        wrapper = connections[alias]
        if not isinstance(wrapper, ScopedWrapper):
            messages.append(
                checks.Warning(
                    f"The database {alias!r} uses {engine}, which blocks the event loop.",
                    hint="Use onloop.db.backends.postgresql or onloop.db.backends.sqlite3, or "
                    "put their mixin in front of your own DatabaseWrapper.",
                    id="onloop.W002",
                )
            )
            continue
        try:
            pool_options(wrapper)
            answer_timeout_s(wrapper)
        except ImproperlyConfigured as exc:
            messages.append(Error(str(exc), id="onloop.E004"))
        if settings_dict["CONN_MAX_AGE"] != 0 and wrapper.vendor == "postgresql":
            pooled = bool(settings_dict["OPTIONS"].get("pool"))
            kind = Error if pooled else checks.Warning
            messages.append(
                kind(
                    f"CONN_MAX_AGE of the database {alias!r} has no meaning with a pool.",
                    hint="Remove it; OPTIONS['pool'] has max_lifetime and max_idle.",
                    id="onloop.E005" if pooled else "onloop.W003",
                )
            )
    return messages


def check_bearer_tokens(**kwargs: Any) -> list[CheckMessage]:
    paths = list(settings.MIDDLEWARE)
    ours = next((number for number, path in enumerate(paths) if _is_bearer(path)), None)
    if ours is None:
        return []
    messages: list[CheckMessage] = []
    if not apps.is_installed("onloop.tokens"):
        messages.append(
            Error(
                f"{paths[ours]} has no tokens: their app is not installed.",
                hint='Put "onloop.tokens" into INSTALLED_APPS, and run `manage.py migrate`.',
                id="onloop.E006",
            )
        )
    messages += [
        checks.Warning(
            f"{paths[ours]} stands before {path} in MIDDLEWARE.",
            hint="Put it after: what tells the session's user comes first.",
            id="onloop.W004",
        )
        for path in paths[ours + 1 :]
        if path in SESSION_USERS
    ]
    return messages


def check_rooms(**kwargs: Any) -> list[CheckMessage]:
    layers = getattr(settings, "CHANNEL_LAYERS", None) or {}
    if not apps.is_installed("onloop.rooms") or "default" in layers:
        return []
    return [
        Error(
            'onloop.rooms has no channel layer: CHANNEL_LAYERS["default"] is missing.',
            hint='"onloop.channels.layers.InMemoryChannelLayer" is for one process, '
            '"onloop.channels.redis.RedisChannelLayer" for several.',
            id="onloop.E007",
        )
    ]


def check_functions(**kwargs: Any) -> list[CheckMessage]:
    try:
        ours = conf.get()
    except ImproperlyConfigured:
        return []  # said by `check_settings`
    named = [("LIFESPAN", path) for path in ours.LIFESPAN]
    named += [
        (name, path)
        for name in ("BEARER_CLIENT_ADDRESS", "TASKS_PERMISSION")
        if (path := getattr(ours, name))
    ]
    messages: list[CheckMessage] = []
    for name, path in named:
        hint = 'Write the module and the function: "mysite.module.function".'
        try:
            found = import_string(path)
        except ImportError as exc:
            wrong = f"cannot be imported. {exc}"
        else:
            if not callable(found):
                wrong = "is no function."
            elif name == "BEARER_CLIENT_ADDRESS" and inspect.iscoroutinefunction(found):
                wrong = "is `async def`, and nothing awaits it."
                hint = "Write a `def` that waits for nothing."
            else:
                continue
        messages.append(
            Error(f'ONLOOP["{name}"]: {path!r} {wrong}', hint=hint, id="onloop.E008")
        )
    return messages


def check_runserver(**kwargs: Any) -> list[CheckMessage]:
    # It imports staticfiles, which a project may not have.
    from onloop.management.commands import runserver  # noqa: PLC0415

    owner: Any = get_commands().get("runserver", "onloop")
    if owner == "onloop" or isinstance(_loaded_command(owner), runserver.Command):
        return []
    name = owner if isinstance(owner, str) else type(owner).__module__
    return [
        checks.Warning(
            f"`manage.py runserver` is that of {name}, and not Onloop's.",
            hint='Put "onloop" first in INSTALLED_APPS.',
            id="onloop.W006",
        )
    ]


def _loaded_command(owner: Any) -> Any:
    try:
        return load_command_class(owner, "runserver") if isinstance(owner, str) else owner
    except Exception:  # noqa: BLE001 - whoever calls the command is told
        return None


def _is_bearer(path: str) -> bool:
    try:
        found = import_string(path)
    except Exception:  # noqa: BLE001 - the handler says at start-up what is wrong with it
        return False
    return inspect.isclass(found) and issubclass(found, BearerTokenMiddleware)
