"""R16's words: frames as a client writes them, cases, and what is seen of a server's answer.

A case tells what a server has to do by RFC 6455. Nothing here asks a library, since a library
is what answers.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NAMES = {TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}

NORMAL, PROTOCOL_ERROR, NO_STATUS = 1000, 1002, 1005
INVALID_PAYLOAD, TOO_BIG = 1007, 1009

# Sent after all else, and echoed if the socket goes on: then all before it is answered.
MARKER = b"still there"

Event = tuple[str, bytes]


def frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    bits: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """A client's frame. `bits`: the reserved ones, 0 to 7; `length`: as it is written."""
    first = (128 if fin else 0) | bits << 4 | opcode
    if length is None:
        size = len(payload)
        if size < 126:
            length = struct.pack("!B", size)
        elif size < 65536:
            length = struct.pack("!BH", 126, size)
        else:
            length = struct.pack("!BQ", 127, size)
    if not masked:
        return bytes([first]) + length + payload
    mask = os.urandom(4)
    head = bytes([first, length[0] | 128]) + length[1:] + mask
    return head + _xor(payload, mask)


def _xor(payload: bytes, mask: bytes) -> bytes:
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")
    return number.to_bytes(len(payload), "big")


def closing(code: int | None = None, reason: bytes = b"") -> bytes:
    payload = b"" if code is None else struct.pack("!H", code) + reason
    return frame(payload, CLOSE)


@dataclass(frozen=True)
class Case:
    """What a client sends, and what has to come.

    `ends`: the codes of which one must be in the server's close frame; none: the socket stays
    open, until the client closes it with 1000. `closes`: the client's close is among its
    frames. `in_order`: echoes and pongs come in just that order.
    """

    name: str
    frames: tuple[bytes, ...]
    answers: tuple[Event, ...] = ()
    ends: frozenset[int] = frozenset()
    closes: bool = False
    in_order: bool = False

    @property
    def group(self) -> str:
        return self.name.partition(":")[0]


def stays(name: str, *frames: bytes, answers: list[Event], in_order: bool = False) -> Case:
    """The socket goes on."""
    return Case(name, frames, tuple(answers), in_order=in_order)


def fails(name: str, *frames: bytes, code: int, answers: tuple[Event, ...] = ()) -> Case:
    """The server must fail the connection. What was answered before may come or not."""
    return Case(name, frames, answers, frozenset({code}))


def ends(name: str, *frames: bytes, codes: set[int], answers: tuple[Event, ...] = ()) -> Case:
    """The client closes by one of its frames."""
    return Case(name, frames, answers, frozenset(codes), closes=True)


# --- how the bytes are sent -------------------------------------------------------------------

DELIVERIES = ("at once", "by frames", "in pieces")
# Whole cases of so many bytes are sent byte by byte; longer ones in larger pieces.
BYTES_BY_BYTE = 1500
PIECE = 997


def writes(case: Case, delivery: str) -> Iterator[bytes]:
    """The bytes of a case, write by write."""
    if delivery == "by frames":
        yield from case.frames
        return
    whole = b"".join(case.frames)
    size = len(whole)
    if delivery == "in pieces":
        size = 1 if len(whole) <= BYTES_BY_BYTE else PIECE
    for start in range(0, len(whole), max(1, size)):
        yield whole[start : start + size]


# --- what comes back --------------------------------------------------------------------------


@dataclass
class Seen:
    """What a server has sent: whole messages, pongs, its close; and how it ended."""

    events: list[Event] = field(default_factory=list)
    close_codes: list[int] = field(default_factory=list)
    # What no server may send, told.
    broken: list[str] = field(default_factory=list)
    # The socket answered what came after that which had to end it.
    goes_on: bool = False
    hangs: bool = False

    def answers(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event[0] in kinds]


class Reader:
    """Takes a server's bytes apart, strictly."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._bytes = bytearray()
        self._message: tuple[int, bytearray] | None = None

    def feed(self, data: bytes) -> None:
        self._bytes += data
        while (found := self._take()) is not None:
            self._note(*found)

    def _take(self) -> tuple[int, int, bytes] | None:
        """The next frame: its first byte without the opcode, its opcode, its payload."""
        data = self._bytes
        if len(data) < 2:
            return None
        size, start = data[1] & 127, 2
        if size > 125:
            width = 2 if size == 126 else 8
            if len(data) < 2 + width:
                return None
            size, start = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if data[1] & 128:
            self._seen.broken.append("a frame of the server is masked")
            start += 4
        if len(data) < start + size:
            return None
        first, payload = data[0], bytes(data[start : start + size])
        del data[: start + size]
        return first & 0xF0, first & 0x0F, payload

    def _note(self, bits: int, opcode: int, payload: bytes) -> None:
        seen = self._seen
        if bits & 0x70:
            seen.broken.append("a frame of the server has reserved bits")
        if seen.close_codes:
            seen.broken.append(f"after its close the server sent {NAMES.get(opcode, opcode)}")
        if opcode == CLOSE:
            code = NO_STATUS if not payload else int.from_bytes(payload[:2], "big")
            seen.close_codes.append(code)
        elif opcode == PONG:
            seen.events.append(("pong", payload))
        elif opcode in (TEXT, BINARY, CONTINUATION):
            self._collect(bits & 128 != 0, opcode, payload)
        elif opcode != PING:
            seen.broken.append(f"the server sent opcode {opcode}")

    def _collect(self, fin: bool, opcode: int, payload: bytes) -> None:
        if (opcode == CONTINUATION) == (self._message is None):
            self._seen.broken.append("fragments of the server do not fit")
            return
        if self._message is None:
            self._message = opcode, bytearray()
        self._message[1].extend(payload)
        if fin:
            kind, whole = self._message
            self._message = None
            self._seen.events.append((NAMES[kind], bytes(whole)))


def differences(case: Case, seen: Seen) -> list[str]:
    """What was other than the RFC says, in words that a list of exceptions can name."""
    found = list(dict.fromkeys(seen.broken))
    kinds = [("text", "binary", "pong")] if case.in_order else [("text", "binary"), ("pong",)]
    for some in kinds:
        wanted = [event for event in case.answers if event[0] in some]
        got = [event for event in seen.answers(*some) if event != ("text", MARKER)]
        if got == (wanted[: len(got)] if case.ends else wanted):
            continue
        if got == [event for event in wanted if event[1]]:
            found.append("leaves out what is empty")
        else:
            found.append(f"answered {_shown(got)}, not {_shown(wanted)}")
    if seen.hangs:
        found.append("hangs")
    if seen.goes_on:
        found.append("goes on")
    elif not seen.close_codes:
        failed = case.ends & {PROTOCOL_ERROR, INVALID_PAYLOAD, TOO_BIG}
        found.append("fails without a close frame" if failed else "no close frame")
    elif not {*seen.close_codes} <= (case.ends or {NORMAL}):
        found.append(f"closed with {seen.close_codes[0]}")
    return found


def _shown(events: list[Event]) -> str:
    told = [f"{kind} {payload[:12]!r} ({len(payload)})" for kind, payload in events[:4]]
    return f"{len(events)}: " + ", ".join(told)


def pieces_of(payload: bytes, size: int) -> list[bytes]:
    return [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]


def fragments(payloads: list[bytes], opcode: int = TEXT) -> list[bytes]:
    """The frames of one message."""
    last = len(payloads) - 1
    kinds = itertools.chain([opcode], itertools.repeat(CONTINUATION))
    return [
        frame(payload, kind, fin=place == last)
        for place, (payload, kind) in enumerate(zip(payloads, kinds, strict=False))
    ]
