"""Where PostgreSQL's messages end in a stream of bytes, for faults at a chosen message."""

from __future__ import annotations

import struct
from typing import Literal

Direction = Literal["up", "down"]

# A client's first packets have no type byte; these of them are answered by a single byte, after
# which comes another first packet.
_ENCRYPTION_REQUESTS = {80877103, 80877104}  # SSLRequest, GSSENCRequest
_CANCEL_REQUEST = 80877102


class Conversation:
    """The messages of one connection, seen from the middle. An encrypted one has none."""

    def __init__(self) -> None:
        self.first_packet = True
        self.replies_due = 0  # single bytes that answer requests for encryption
        self.encrypted = False


class MessageCounter:
    """Counts the messages that go in one direction."""

    def __init__(self, conversation: Conversation, direction: Direction) -> None:
        self.count = 0
        self._conversation = conversation
        self._direction = direction
        self._left = 0  # bytes of the current message that are still to come
        self._head = b""

    def feed(self, data: bytes, stop_at: int | None = None) -> int:
        """Count the messages that end in `data`.

        Returns how many of the bytes were looked at: all, or, when the count reaches
        `stop_at`, those up to the end of that message.
        """
        position = 0
        while position < len(data):
            if self._conversation.encrypted:
                return len(data)
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
            else:
                position += self._read_head(data[position:])
            if not self._left and not self._head:
                self.count += 1
                if stop_at is not None and self.count >= stop_at:
                    return position
        return position

    def _read_head(self, data: bytes) -> int:
        """Take the bytes of a head; sets `_left` when the head is whole."""
        talk = self._conversation
        if self._direction == "down" and talk.replies_due:
            talk.replies_due -= 1
            talk.encrypted = data[:1] in (b"S", b"G")
            return 1
        bare = self._direction == "up" and talk.first_packet
        size = 8 if bare else 5
        taken = data[: size - len(self._head)]
        self._head += taken
        if len(self._head) < size:
            return len(taken)
        head, self._head = self._head, b""
        if bare:
            length, code = struct.unpack("!ii", head)
            if code in _ENCRYPTION_REQUESTS:
                talk.replies_due += 1
            elif code != _CANCEL_REQUEST:
                talk.first_packet = False
            self._left = length - 8
        else:
            self._left = struct.unpack("!i", head[1:])[0] - 4
        return len(taken)
