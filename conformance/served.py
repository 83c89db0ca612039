"""Onloop's handler for the synchronous test client: its requests are served as a server would.

Django's `ClientHandler` makes a WSGI request of what the client sends, and calls middleware and
view. Here the same becomes an ASGI scope, a body and a `send`, which the handler is given, in
the bridge of the test.
"""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import client

from onloop.asgi.handler import OnloopHandler
from onloop.asgi.places import place_of
from onloop.bridge import await_

_Environ = dict[str, Any]


class ServedClientHandler(OnloopHandler):
    """Stands for `django.test.client.ClientHandler`."""

    served = 0  # requests, by all of them

    def __init__(self, enforce_csrf_checks: bool = True, *args: Any, **kwargs: Any) -> None:
        self.enforce_csrf_checks = enforce_csrf_checks
        self._environ: _Environ = {}

    def __call__(self, environ: _Environ) -> Any:  # type: ignore[override]
        if self._middleware_chain is None:
            OnloopHandler.__init__(
                self
            )  # loads the middleware, by the settings as they are now
        self._environ, self._request, self._response = environ, None, None
        pieces = [environ["wsgi.input"].read()]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not pieces:  # who watches for the client's leaving; it stays
                await asyncio.get_running_loop().create_future()
            return {"type": "http.request", "body": pieces.pop()}

        async def send(message: Any) -> None:
            sent.append(message)

        await_(super().__call__(scope_of(environ), receive, send))
        ServedClientHandler.served += 1
        return self._as_received(sent)

    def create_request(self, scope: Any, body_file: Any) -> Any:
        request, response = super().create_request(scope, body_file)
        if request is not None:
            request._dont_enforce_csrf_checks = not self.enforce_csrf_checks
            for name, value in self._environ.items():
                if not name.startswith("wsgi."):  # what a test adds to the environment
                    request.META.setdefault(name, value)
        self._request, self._response = request, response
        return request, response

    def get_response(self, request: Any) -> Any:
        self._response = super().get_response(request)
        view = request.resolver_match
        assert view is None or place_of(view.func) != "thread", view
        return self._response

    def _as_received(self, sent: list[Any]) -> Any:
        """The view's own response object, with the content that was sent."""
        response = self._response
        start, *parts = sent
        assert start["status"] == response.status_code
        assert not parts[-1].get("more_body")
        content = b"".join(part.get("body", b"") for part in parts)
        if response.streaming:
            response.streaming_content = iter([content])
        else:
            assert content == response.content
        client.conditional_content_removal(self._request, response)
        response.wsgi_request = self._request
        return response


def scope_of(environ: _Environ) -> dict[str, Any]:
    """Return the ASGI scope that a server would make of such a request."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    }
    path, prefix = (
        environ[name].encode("latin-1").decode(errors="surrogateescape")
        for name in ("PATH_INFO", "SCRIPT_NAME")
    )
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": prefix + path,
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "root_path": prefix,
        "headers": [(name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in headers.items()],
        "client": (environ["REMOTE_ADDR"], 50000),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
    }  # fmt: skip


def serve_client_by_onloop() -> None:
    """Put it in the place of Django's; before anything imports that by name."""
    client.ClientHandler = ServedClientHandler  # type: ignore[misc]
