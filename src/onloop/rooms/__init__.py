"""Rooms: messages that are saved and announced, who is there, and sockets that miss nothing.

An app of its own: put `"onloop.rooms"` into INSTALLED_APPS. These functions take the name of a
room, any text of at most 200 characters; the consumer is `onloop.rooms.consumers.RoomConsumer`.
"""

from __future__ import annotations

from onloop.rooms.sending import (
    aannounce,
    ahistory,
    announce,
    apresent,
    asend,
    history,
    present,
    send,
)

__all__ = [
    "aannounce",
    "ahistory",
    "announce",
    "apresent",
    "asend",
    "history",
    "present",
    "send",
]
