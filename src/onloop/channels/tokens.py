"""The user of a socket, by a bearer token or a ticket of `onloop.tokens`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.views.decorators.debug import sensitive_variables

from onloop import bridge
from onloop.asgi.unit import in_unit
from onloop.channels.credentials import (
    SUBPROTOCOL,
    Credential,
    Refused,
    credential_of,
    without_token,
)
from onloop.channels.handshake import (
    Application,
    Message,
    Receive,
    Send,
    refuse,
    request_of,
    shown,
)
from onloop.tokens import failures

logger = logging.getLogger("onloop.channels")

APP = "onloop.tokens"
POLICY_VIOLATION = 1008


class TokenAuthMiddleware:
    """Set `scope["user"]` and `scope["token"]` by a token or a ticket; refuse those not valid.

    A socket that has neither goes to `otherwise`, by default to the same application, with the
    user that it has by then or an `AnonymousUser`. `scope["token"]` is None for it, and for one
    with a ticket.

    Raises `ImproperlyConfigured` if the app `onloop.tokens` is not installed.
    """

    def __init__(self, inner: Any, otherwise: Any = None) -> None:
        if not apps.is_installed(APP):
            raise ImproperlyConfigured(
                f'TokenAuthMiddleware needs "{APP}" in INSTALLED_APPS, and its migrations.'
            )
        self.inner = inner
        self.otherwise = inner if otherwise is None else otherwise

    # Not `async def`, as in `StrictOriginMiddleware`.
    @markcoroutinefunction
    @sensitive_variables()
    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "websocket":
            raise ValueError(
                f"TokenAuthMiddleware is for WebSockets, not for {scope['type']!r}. Put it "
                'around the application of "websocket" in ProtocolTypeRouter.'
            )
        try:
            credential = credential_of(scope)
        except Refused as exc:
            logger.warning("A socket (%s) was refused: %s.", shown(scope), exc)
            return refuse(scope, receive, send, code=POLICY_VIOLATION)
        if credential is None:
            application: Application = self.otherwise
            return application(_anonymous(scope), receive, send)
        return self._serve(scope, receive, send, _admitted(scope, send, credential))

    async def _serve(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        admitted: Awaitable[tuple[Message, Send] | None],
    ) -> None:
        inside = await admitted
        del admitted
        if inside is not None:
            scope, send = inside
            del inside
            await self.inner(scope, receive, send)
            return
        wait_s = await failures.acount(request_of(scope))
        await refuse(scope, receive, send, code=POLICY_VIOLATION, wait_s=wait_s)


@sensitive_variables()
async def _admitted(
    scope: Message, send: Send, credential: Credential
) -> tuple[Message, Send] | None:
    """The scope with the user of the credential, and `send`; None if it is not valid."""
    found = await _authenticate(credential)
    if found is None:
        return None
    user, token = found
    if credential.by_subprotocol:
        scope = without_token(scope, credential.text)
        send = accepting_bearer(send, credential.text)
    return {**scope, "user": user, "token": token}, send


@sensitive_variables()
async def _authenticate(credential: Credential) -> tuple[Any, Any] | None:
    """The user, and the token if it was one; None if it is not valid."""
    from onloop.tokens.models import Ticket, Token  # noqa: PLC0415 - needs the app registry

    # As an argument, the text would be in the bridge's own frames, which reports show.
    @sensitive_variables()
    def authenticate() -> tuple[Any, Any] | None:
        if credential.kind == "ticket":
            user = Ticket.objects.use(credential.text)
            return None if user is None else (user, None)
        token = Token.objects.authenticate(credential.text)
        return None if token is None else (token.user, token)

    return await bridge.run(in_unit, authenticate)


def _anonymous(scope: Message) -> Message:
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 - see above
    from django.utils.functional import SimpleLazyObject  # noqa: PLC0415

    # Lazy, since Channels' AuthMiddleware puts the session's user into what is there.
    return {"user": SimpleLazyObject(AnonymousUser), "token": None, **scope}


def accepting_bearer(send: Send, token: str) -> Send:
    """`send`, which answers the subprotocol `bearer` where the application chooses none.

    Browsers end a socket if they have offered some and none is chosen. The token is no choice.
    """

    @sensitive_variables()
    async def accepting(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") in (
            None,
            "",
            token,
        ):
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    accepting.__wrapped__ = send  # type: ignore[attr-defined] # `wire_of` finds the server by it
    return accepting


async def issue_ticket(user: Any) -> str:
    """Make a ticket that opens one socket as `user`, soon; return its text.

    It is good for `ONLOOP["SOCKET_TICKET_LIFETIME"]` seconds and for `?ticket=` of one address.
    """
    from onloop.tokens.models import Ticket  # noqa: PLC0415 - see above

    return str(await Ticket.objects.aissue(user))
