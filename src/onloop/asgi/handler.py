"""One request: one bridge, in the server's own task.

The bridge runs Django's middleware as plain calls; what waits in it (a query, an async view,
`receive` and `send`) waits on the loop. The scope of the request is closed at the end,
whatever happens, and every connection is back in its pool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.core import signals
from django.core.exceptions import BadRequest
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import FileResponse, HttpResponse, HttpResponseBadRequest
from django.urls import Resolver404, get_resolver, set_script_prefix
from django.utils import timezone, translation

from onloop import bridge, watchdog
from onloop.asgi.admission import Admission, Overloaded, admission_of, answered
from onloop.asgi.chain import Chain
from onloop.asgi.client import Client
from onloop.asgi.errors import InvalidScope
from onloop.asgi.explain import explain
from onloop.asgi.lifespan import serve_lifespan
from onloop.asgi.limits import Limits
from onloop.asgi.messages import piece_of, wrong_in
from onloop.asgi.request import OnloopRequest
from onloop.asgi.response import ClientLeft, send_response
from onloop.asgi.threads import thread_is_free
from onloop.asgi.unit import in_unit_of
from onloop.asgi.warm import warm_up
from onloop.bridge import await_
from onloop.db.scope import scope as own_scope

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("onloop.asgi")
django_logger = logging.getLogger("django.request")

MAX_PATH = 200

# Whether a request was served in this context before. It is never set back.
_served_here: ContextVar[bool] = ContextVar("onloop_served_here", default=False)


class OnloopHandler(Chain, ASGIHandler):
    """Serves HTTP requests and the lifespan of an ASGI server."""

    request_class = OnloopRequest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope.get("type")
        if kind == "http":
            try:
                with watchdog.serving(explain):
                    await bridge.run(self._serve, scope, receive, send)
            except (AttributeError, LookupError, TypeError, ValueError) as exc:
                if wrong := wrong_in(scope):
                    raise InvalidScope(wrong) from exc
                raise
        elif kind == "lifespan":
            # Nothing is served yet, so that it may take its time.
            async with own_scope():
                await bridge.run(warm_up)
            with watchdog.serving(explain, lingers=False):
                await serve_lifespan(receive, send)
        else:
            raise ValueError(
                f"Django can only handle ASGI/HTTP connections, not {kind}. Route other "
                "protocols before it, for example with Channels' ProtocolTypeRouter."
            )

    def __rsgi_init__(self, loop: object) -> None:
        """Refuse to be served by Granian's own protocol, which is its default."""
        raise TypeError(
            "This is an ASGI application. Start it with `granian --interface asgi`."
        )

    def _serve(self, asgi_scope: Message, receive: Receive, send: Send) -> None:
        if _served_here.get():
            # In the context of the request before, as uvicorn starts a pipelined one.
            translation.deactivate()
            timezone.deactivate()
        else:
            _served_here.set(True)
        admission = admission_of(asyncio.get_running_loop())
        in_unit_of(admission, self._handle, asgi_scope, receive, send, admission)

    def _handle(
        self, asgi_scope: Message, receive: Receive, send: Send, admission: Admission
    ) -> None:
        message = await_(receive())
        first = piece_of(message)
        if first is None:
            return
        began = time.monotonic()
        client = Client(asgi_scope, receive, first, more_body=message.get("more_body", False))
        entered = False
        response: Any = None
        try:
            try:
                if not (admission.is_full and is_always_served(asgi_scope)):
                    admission.enter()
                    entered = True
                response = self._respond(asgi_scope, client)
            except Overloaded:
                response = unavailable()
            except asyncio.CancelledError:
                # What a view runs in a thread may still read the body.
                await_(thread_is_free())
                if not client.timed_out or not client.alone:
                    raise
                client.take_back()
                log_late(asgi_scope, client.limits)
                response = unavailable()
            client.responds()
            answered.add(began, response.status_code)
            if client.sends_on and asgi_scope.get("http_version", "1.1").startswith("1"):
                # There is no other way to be rid of the rest of its body.
                response.headers["Connection"] = "close"
                if not response.streaming:  # it is complete before the connection is closed
                    response.headers.setdefault("Content-Length", str(len(response.content)))
                send = client.lingering(send)
            if entered:
                # Sending it is paced by the client, and may go on for ever.
                admission.leave()
                entered = False
            send_response(response, send, self.chunk_size)
        except ClientLeft:
            await_(thread_is_free())
        except asyncio.CancelledError:
            await_(thread_is_free())
            if not client.left or not client.alone:
                raise
        finally:
            if entered:
                admission.leave()
            try:
                client.done()
            finally:  # a server may cancel at this very moment too
                try:
                    if response is None:
                        answered.left += 1
                        signals.request_finished.send(sender=self.__class__)
                    else:
                        response.close()
                finally:
                    client.body.close()

    def _respond(self, asgi_scope: Message, client: Client) -> Any:
        set_script_prefix(get_script_prefix(asgi_scope))
        signals.request_started.send(sender=self.__class__, scope=asgi_scope)
        request: Any
        response: Any
        request, response = self.create_request(asgi_scope, client.body)
        if request is None:
            return response
        request._onloop_client = client
        response = self.get_response(request)
        response._handler_class = self.__class__
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        return response

    def create_request(self, scope: Any, body_file: Any) -> tuple[Any, Any]:
        """Make the request, or the response to one that cannot be made.

        Django lets through what `Content-Type` can make its own parser raise.
        """
        try:
            return super().create_request(scope, body_file)
        except (BadRequest, ValueError):
            django_logger.warning("Bad Request", exc_info=True, extra={"status_code": 400})
            return None, HttpResponseBadRequest()


def is_always_served(asgi_scope: Message) -> bool:
    """Tell whether the address is a view's that no limit on requests holds for.

    Asked only where there is no slot: it is looked up once more than for other requests.
    """
    path = asgi_scope["path"].removeprefix(get_script_prefix(asgi_scope).rstrip("/"))
    try:
        match = get_resolver(settings.ROOT_URLCONF).resolve(path)
    except Resolver404:
        return False
    return getattr(match.func, "onloop_always", False)


def unavailable() -> HttpResponse:
    """The answer to a request that was not served, or not in time."""
    return HttpResponse(
        "Service Unavailable",
        status=503,
        content_type="text/plain",
        headers={"Retry-After": "1"},
    )


def log_late(asgi_scope: Message, limits: Limits) -> None:
    logger.error(
        "%s %s was not answered within %g s (ONLOOP['REQUEST_TIMEOUT'] or @onloop.limits), and "
        "is cancelled.",
        asgi_scope["method"],
        ascii(asgi_scope["path"][:MAX_PATH])[1:-1],  # no line breaks in a log
        limits.request_timeout,
    )
