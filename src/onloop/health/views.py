"""The views, and the addresses that `include("onloop.health")` gives them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import connections
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from onloop import conf, phase, policy
from onloop.db.backends.base import ScopedWrapper
from onloop.health.monitor import WELL, monitor_of

F = TypeVar("F", bound=Callable[..., Any])


def _check(view: F) -> F:
    """A view for probes: no user, no transaction, nothing cached, and never turned away."""
    view = never_cache(require_safe(view))
    # Django's LoginRequiredMiddleware, and ATOMIC_REQUESTS, as their own decorators say it.
    view.login_required = False  # type: ignore[attr-defined]
    view._non_atomic_requests = set(connections)  # type: ignore[attr-defined]
    return policy.always(view)


async def _live(request: HttpRequest) -> JsonResponse:
    """Answer 200: the event loop runs, and takes requests. Asks for nothing else."""
    return JsonResponse({"status": "ok"})


async def _ready(
    request: HttpRequest,
    databases: Sequence[str] | None = None,
    timeout: float | None = None,
) -> JsonResponse:
    """Answer 200 if the application can serve requests that need its databases, else 503.

    `databases`: the aliases to ask, by default all with an engine of Onloop's. `timeout`:
    seconds to wait for their answers, by default `ONLOOP["READY_TIMEOUT"]`. Both can be given
    as the third argument of `path()`.
    """
    _refuse_wrong(databases, timeout)
    loop = asyncio.get_running_loop()
    application = phase.phase_of(loop)
    states: dict[str, str] = {}
    if application == "started":
        aliases = _own_aliases() if databases is None else databases
        timeout_s = conf.get().READY_TIMEOUT if timeout is None else timeout
        states = await monitor_of(loop).ask(aliases, timeout_s)
        application = phase.phase_of(loop)  # it may have changed meanwhile
    is_ready = application == "started" and WELL.issuperset(states.values())
    response = JsonResponse(
        {
            "status": "ok" if is_ready else "unavailable",
            "application": application,
            "databases": states,
        },
        status=200 if is_ready else 503,
    )
    # Django logs an error for each 503; the monitor says once what is wrong.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _refuse_wrong(databases: object, timeout: object) -> None:
    """Name the argument that is wrong; `path()` takes any."""
    if isinstance(databases, str):
        raise TypeError(f"databases is a list of aliases, not {databases!r}.")
    numeric = isinstance(timeout, int | float) and 0 < timeout < math.inf
    if timeout is not None and not numeric:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}.")


def _own_aliases() -> list[str]:
    return [alias for alias in connections if isinstance(connections[alias], ScopedWrapper)]


live = _check(_live)
ready = _check(_ready)

urlpatterns = [path("live/", live, name="live"), path("ready/", ready, name="ready")]
