"""What a server may hand over: messages of a request, and its scope, by the ASGI specification.

https://asgi.readthedocs.io/en/latest/specs/www.html. Looking costs nothing where all is well:
a scope is only looked at once something in it has failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onloop.asgi.errors import InvalidMessage

_SHOWN = 200

# The type of each value, and whether it must be there. `query_string` and `headers` must be,
# but Django goes without.
_TYPES: dict[str, tuple[tuple[type, ...], bool]] = {
    "method": ((str,), True),
    "path": ((str,), True),
    "query_string": ((bytes, str), False),
    "root_path": ((str, type(None)), False),
    "scheme": ((str, type(None)), False),
}


def piece_of(message: Any) -> bytes | None:
    """Return the piece of a body that `message` brings; None if it says that the client left.

    Raises `InvalidMessage` if it is neither `http.request` nor `http.disconnect`, or its body
    is no byte string.
    """
    try:
        kind = message["type"]
        if kind == "http.request":
            piece = message.get("body", b"")
            if type(piece) is bytes:
                return piece
            if isinstance(piece, (bytes, bytearray, memoryview)):
                return bytes(piece)
        elif kind == "http.disconnect":
            return None
    except (AttributeError, LookupError, TypeError):
        pass  # it is no mapping, or has no type
    raise InvalidMessage(shown(message))


def wrong_in(scope: Mapping[str, Any]) -> str:
    """Return what the specification forbids in the scope of a request, "" for nothing."""
    return "; ".join(_wrong_in(scope))


def _wrong_in(scope: Mapping[str, Any]) -> Iterator[str]:
    for name, (types, required) in _TYPES.items():
        if name not in scope:
            if required:
                yield f"there is no {name!r}"
        elif not isinstance(scope[name], types):
            yield f"{name!r} is {shown(scope[name])}"
    try:
        for name, value in scope.get("headers", ()):
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                yield f"a header is {shown((name, value))}, not two byte strings"
                break
    except (TypeError, ValueError):
        yield f"'headers' are {shown(scope['headers'])}, not pairs of byte strings"
    for name in ("client", "server"):
        address = scope.get(name)
        if address and not (isinstance(address, (list, tuple)) and len(address) == 2):
            yield f"{name!r} is {shown(address)}, not a pair of host and port"


def shown(value: object) -> str:
    """`repr`, cut off: a message may be of any size."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
