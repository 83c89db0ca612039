"""One request: one bridge, in the server's own task.

The bridge runs Django's middleware as plain calls; what waits in it (a query, an async view,
`receive` and `send`) waits on the loop. The scope of the request is closed at the end,
whatever happens, and every connection is back in its pool.
"""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import connections
from django.http import FileResponse
from django.urls import set_script_prefix
from django.utils import timezone, translation

from onloop import bridge, watchdog
from onloop.asgi.chain import Chain
from onloop.asgi.explain import explain
from onloop.asgi.lifespan import serve_lifespan
from onloop.asgi.response import ClientLeft, send_response
from onloop.asgi.threads import thread_is_free
from onloop.bridge import await_
from onloop.db.scope import Scope

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("onloop.asgi")

# Seconds from a request's first wait to the watch for its client's leaving.
WATCH_AFTER_S = 0.02


class OnloopHandler(Chain, ASGIHandler):
    """Serves HTTP requests and the lifespan of an ASGI server."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            with watchdog.serving(explain):
                await bridge.run(self._serve, scope, receive, send)
        elif kind == "lifespan":
            with watchdog.serving(explain, lingers=False):
                await serve_lifespan(receive, send)
        else:
            raise ValueError(
                f"Django can only handle ASGI/HTTP connections, not {kind}. Route other "
                "protocols before it, for example with Channels' ProtocolTypeRouter."
            )

    def _serve(self, asgi_scope: Message, receive: Receive, send: Send) -> None:
        # A server may start a request in the context of the one before (uvicorn does, with
        # pipelined requests).
        translation.deactivate()
        timezone.deactivate()
        scope = Scope.begin()
        # Not entered: inside another context it would do nothing, and the request before left
        # its own behind.
        threads = ThreadSensitiveContext()
        token = SyncToAsync.thread_sensitive_context.set(threads)
        try:
            try:
                self._handle(asgi_scope, receive, send)
            finally:
                SyncToAsync.thread_sensitive_context.reset(token)
                executor = SyncToAsync.context_to_thread_executor.pop(threads, None)
                if executor is not None:
                    await_(_end_thread(executor))
        finally:
            scope.end()

    def _handle(self, asgi_scope: Message, receive: Receive, send: Send) -> None:
        try:
            body = await_(self.read_body(receive))
        except RequestAborted:
            return
        client = Client(receive)
        response: Any = None
        try:
            set_script_prefix(get_script_prefix(asgi_scope))
            signals.request_started.send(sender=self.__class__, scope=asgi_scope)
            request, response = self.create_request(asgi_scope, body)
            if request is not None:
                response = self.get_response(request)
                response._handler_class = self.__class__
                if isinstance(response, FileResponse):
                    response.block_size = self.chunk_size
            send_response(response, send, self.chunk_size)
        except ClientLeft:
            await_(thread_is_free())
        except asyncio.CancelledError:
            # What a view runs in a thread may still read the body.
            await_(thread_is_free())
            if not client.left_alone:
                raise
        finally:
            client.done()
            if response is None:
                body.close()
                signals.request_finished.send(sender=self.__class__)
            else:
                response.close()
                body.close()

    async def read_body(self, receive: Receive) -> Any:
        """Read the body; in memory where it came in one piece, else as Django does.

        Raises `RequestAborted` if the client leaves meanwhile.
        """
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        body = message.get("body", b"")
        limit = settings.FILE_UPLOAD_MAX_MEMORY_SIZE
        if not message.get("more_body", False) and len(body) <= limit:
            return io.BytesIO(body)
        spooled = tempfile.SpooledTemporaryFile(max_size=limit, mode="w+b")  # noqa: SIM115
        loop = asyncio.get_running_loop()
        try:
            while True:
                if body:
                    # What is on the disk already is written by a thread.
                    if getattr(spooled, "_rolled", False):
                        await loop.run_in_executor(None, spooled.write, body)
                    else:
                        spooled.write(body)
                if not message.get("more_body", False):
                    break
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted
                body = message.get("body", b"")
        except BaseException:
            spooled.close()
            raise
        spooled.seek(0)
        return spooled


async def _end_thread(executor: Executor) -> None:
    """End the request's thread, and the connections that user code opened in it.

    What runs in `asgiref.sync.sync_to_async` has Django's stock connections. They are closed
    once the thread is free, also if nobody waits for it any more.
    """
    closing = executor.submit(connections.close_all)
    executor.shutdown(wait=False)
    await asyncio.shield(asyncio.wrap_future(closing))


class Client:
    """Watches for the client's leaving, and cancels the request's task when it does.

    The watch begins a moment after the request first waits for something. One that never waits
    cannot be cancelled, and for one that is done by then it would be the costlier part.
    """

    def __init__(self, receive: Receive) -> None:
        here = bridge.current()
        assert here is not None
        self.left = False
        self._receive = receive
        self._task = here.task
        self._bridge = here
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        here.before_first_wait = self._start

    def _start(self) -> None:
        self._timer = self._task.get_loop().call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        # Not through the loop's task factory: this one needs no bridge.
        self._watch = asyncio.Task(self._wait(), loop=self._task.get_loop())

    async def _wait(self) -> None:
        try:
            message = await self._receive()
        except Exception:
            logger.exception("The server failed while a request waited for its end.")
            return
        if message["type"] == "http.disconnect":
            self.left = True
            self._task.cancel()

    def done(self) -> None:
        """End the watch; take the cancellation back if it was this watch's."""
        self._bridge.before_first_wait = None
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is None:
            return
        self._watch.cancel()
        if self.left and self._task.uncancel() == 0:
            _swallow_pending_cancel()

    @property
    def left_alone(self) -> bool:
        """The client's leaving is all that the request is cancelled for."""
        return self.left and self._task.cancelling() == 1


def _swallow_pending_cancel() -> None:
    """Before Python 3.13 `uncancel` leaves a cancellation that was not raised yet pending."""
    try:
        await_(asyncio.sleep(0))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the server's, which came just now
