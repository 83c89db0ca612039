"""What the watchdog says of a stack: which request it belongs to, and the cure.

The stack of a request is read as it stands: the local variables of the handler's and the
chain's own functions say which view or middleware it is in. So requests need not be marked.
It runs in the watchdog's thread, so it must change nothing, and call nothing of the user's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import FrameType
from typing import Any

from asgiref.sync import iscoroutinefunction

from onloop.asgi.places import mark_of, prefix_of

HANDLER = "onloop.asgi.handler"
CHAIN = "onloop.asgi.chain"
MAX_PATH = 200


def explain(frames: Sequence[FrameType]) -> tuple[str, str]:
    """Return the request and the cure; "" for what cannot be told."""
    request, cure = "", None
    inner: FrameType | None = None
    for frame in frames:
        module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
        if module == CHAIN and cure is None:
            cure = _cure(name, frame.f_locals, inner)
        elif module == HANDLER and name == "_serve":
            request = _request(frame.f_locals["asgi_scope"])
        inner = frame
    return request, cure or ""


def _request(scope: Any) -> str:
    path = repr(scope["path"][:MAX_PATH])[1:-1]  # no line breaks in a log
    return f"{scope['method']} {path}"


def _cure(function: str, variables: Any, inner: FrameType | None) -> str | None:
    """The cure, if `function` of the chain calls a view or middleware that is synchronous.

    None where it calls neither, and a function further out may.
    """
    if function == "_call_view":
        view = variables["view"]
        if variables.get("place") != "loop" or asyncio.iscoroutine(variables.get("response")):
            return ""
        if mark_of(view) is not None:
            return "mark the view @onloop.in_thread in place of @onloop.on_loop"
        return _in_thread(view)
    if function == "inner":  # of `convert_exceptions`
        return _in_thread_if_sync(variables.get("get_response"))
    if function in ("_get_response", "_render"):
        hook = variables.get("hook")
        if inner is not None and getattr(hook, "__code__", None) is inner.f_code:
            return _in_thread_if_sync(hook)
        return ""
    return None


def _in_thread_if_sync(middleware: Any) -> str:
    # An asynchronous one is wrapped by the chain.
    wrapped = getattr(middleware, "__wrapped__", middleware)
    called = getattr(type(wrapped), "__call__", None)  # noqa: B004 - of the class
    if iscoroutinefunction(wrapped) or iscoroutinefunction(called):
        return ""
    owner = getattr(middleware, "__self__", middleware)
    if type(owner).__module__ in (HANDLER, CHAIN):
        return ""
    return _in_thread(owner)


def _in_thread(owner: Any) -> str:
    return f'add "{prefix_of(owner)}" to ONLOOP["IN_THREAD"]'
