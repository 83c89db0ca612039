"""What the watchdog says of a stack: which request or message it belongs to, and the cure.

The stack is read as it stands: the local variables of the handler's, the chain's and the
consumers' own functions say what it is in. So requests need not be marked. It runs in the
watchdog's thread, so it must change nothing, and call nothing of the user's.
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
CONSUMERS = "onloop.channels.consumers"
JOBS = "onloop.tasks.running"
ERROR_PAGE = "django.views.debug"
MAX_PATH = 200


def explain(frames: Sequence[FrameType]) -> tuple[str, str]:
    """Return the request, message or job, and the cure; "" for what cannot be told."""
    request, cure = "", None
    inner: FrameType | None = None
    for frame in frames:
        module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
        if module == CHAIN and name == "_get_response":
            # Behind middleware in a thread, or one that has a task of its own, `_serve` is not
            # on this stack.
            scope = getattr(frame.f_locals["request"], "scope", None)
            request = _request(scope) if scope else ""
        if module == CHAIN and cure is None:
            cure = _cure(name, frame.f_locals, inner)
        elif module == ERROR_PAGE and cure is None:
            cure = "mend the error that Django makes this page about, as DEBUG is on"
        elif module == HANDLER and name == "_serve":
            request = _request(frame.f_locals["asgi_scope"])
        elif module == CONSUMERS and name == "dispatch_message":
            request = _message(**frame.f_locals)
        elif module == JOBS and name == "_call":
            job = frame.f_locals["job"]
            request = f"job {job.result.task.module_path}"
            if frame.f_locals.get("place") == "loop":
                cure = _cure_of(frame.f_locals["function"])
        elif module == CONSUMERS and name == "call_database_sync_to_async" and cure is None:
            cure = _cure_of_call(frame.f_locals["self"].func, frame.f_locals["args"])
        inner = frame
    return request, cure or ""


def _request(scope: Any) -> str:
    return f"{scope['method']} {_path(scope)}"


def _message(dispatch: Any, message: Any) -> str:
    # A method; that of a synchronous consumer is a `functools.partial`.
    consumer = getattr(dispatch, "__self__", None) or next(iter(dispatch.args))
    scope = consumer.scope
    return f"{message['type']} {_path(scope)}".rstrip()


def _path(scope: Any) -> str:
    return repr(scope.get("path", "")[:MAX_PATH])[1:-1]  # no line breaks in a log


def _cure_of_call(function: Any, args: tuple[Any, ...]) -> str:
    """The cure for what `database_sync_to_async` runs: a sync consumer, or a function."""
    return _cure_of(args[0] if args and hasattr(args[0], "base_send") else function)


def _cure_of(owner: Any, what: str = "it") -> str:
    if mark_of(owner) is not None:
        return f"mark {what} @onloop.in_thread in place of @onloop.on_loop"
    return _in_thread(owner)


def _cure(function: str, variables: Any, inner: FrameType | None) -> str | None:
    """The cure, if `function` of the chain calls a view or middleware that is synchronous.

    None where it calls neither, and a function further out may.
    """
    if function == "_call_view":
        view = variables["view"]
        if variables.get("place") != "loop" or asyncio.iscoroutine(variables.get("response")):
            return ""
        return _cure_of(view, "the view")
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
