"""By what a handshake says whose socket it will be. No Django in here, and no database.

A token comes in the header `Authorization`, or, from browsers, which cannot set it, in the list
of subprotocols behind the word `bearer`. A ticket comes in the query. A token in the query is
refused: addresses end up in logs.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from onloop.middleware.authorization import MalformedHeader, bearer_token
from onloop.tokens.text import PREFIX

Message = MutableMapping[str, Any]

SUBPROTOCOL = "bearer"
TICKET = "ticket"
# Under these a token would be expected; the second is RFC 6750's.
TOKENS_IN_QUERIES = ("token", "access_token")


class Refused(Exception):
    """The handshake is refused whatever token it has; says why, and nothing of a token."""


class Credential(NamedTuple):
    """A token or a ticket, and where it was."""

    kind: Literal["token", "ticket"]
    text: str
    by_subprotocol: bool = False

    def __repr__(self) -> str:
        return f"<{self.kind}>"  # the text is nobody's to see


def credential_of(scope: Message) -> Credential | None:
    """The credential of a handshake; None where there is none.

    Raises `Refused` if there are several, one that is malformed, or a token in the query.
    """
    found = [*_of_header(scope), *_of_subprotocols(scope), *_of_query(scope)]
    if len(found) > 1:
        raise Refused("it has more than one token or ticket")
    return found[0] if found else None


def _of_header(scope: Message) -> list[Credential]:
    values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if not values:
        return []
    try:
        text = bearer_token(b",".join(values).decode("latin1"))
    except MalformedHeader:
        raise Refused("its Authorization header is malformed") from None
    return [] if text is None else [Credential("token", text)]


def _of_subprotocols(scope: Message) -> list[Credential]:
    offered = list(scope.get("subprotocols") or [])
    places = [place for place, name in enumerate(offered) if name.lower() == SUBPROTOCOL]
    if not places:
        if any(name.startswith(PREFIX) for name in offered):
            raise Refused(f"its subprotocols have a token without {SUBPROTOCOL!r} before it")
        return []
    place = places[0] + 1
    if len(places) > 1 or len(offered) <= place:
        raise Refused(f"its subprotocols have no token behind {SUBPROTOCOL!r}, or two")
    return [Credential("token", offered[place], by_subprotocol=True)]


def _of_query(scope: Message) -> list[Credential]:
    query = scope.get("query_string") or b""
    if isinstance(query, str):
        query = query.encode()
    found = []
    for name, value in parse_qsl(query.decode("latin1"), keep_blank_values=True):
        if name.lower() in TOKENS_IN_QUERIES or value.startswith(PREFIX):
            raise Refused(
                "it has a token in its query, where logs would show it; send it in a header or "
                "as a subprotocol, or use a ticket"
            )
        if name == TICKET:
            found.append(Credential("ticket", value))
    return found


def without_token(scope: Message, token: str) -> Message:
    """The scope of a handshake whose subprotocols have the token; there it has it no more."""
    headers = [
        (name, _without(value, token) if name.lower() == b"sec-websocket-protocol" else value)
        for name, value in scope["headers"]
    ]
    subprotocols = [name for name in scope["subprotocols"] if name != token]
    return {**scope, "headers": headers, "subprotocols": subprotocols}


def _without(value: bytes, token: str) -> bytes:
    names = [name.strip() for name in value.split(b",")]
    return b", ".join(name for name in names if name != token.encode("latin1", "replace"))
