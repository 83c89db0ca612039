"""Small steps of a socket's session: coroutines that are begun by hand, and bytes of a text."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from onloop.channels.handshake import Message


async def waited_for(awaitable: Awaitable[None]) -> None:
    """Make a coroutine of any awaitable."""
    await awaitable


@types.coroutine
def going_on(steps: Coroutine[Any, Any, None], out: Any) -> Generator[Any, Any, None]:
    """`await steps`, which has begun and waits for `out`."""
    try:
        while True:
            try:
                sent = yield out
            except BaseException as exc:  # noqa: BLE001 - it belongs to the awaitable
                out = steps.throw(exc)
            else:
                out = steps.send(sent)
    except StopIteration:
        return


def size_of(message: Message, most: int) -> int | None:
    """How many bytes a message has, to tell whether it is more than `most`; None for none."""
    text, data = message.get("text"), message.get("bytes")
    if isinstance(text, str):
        # Characters have up to 4 bytes.
        return len(text) if len(text) > most or len(text) * 4 <= most else bytes_of(text)
    return len(data) if isinstance(data, bytes | bytearray | memoryview) else None


def bytes_of(text: str) -> int:
    """How many bytes a text has in UTF-8, half pairs of surrogates included."""
    return len(text.encode("utf-8", "surrogatepass"))
