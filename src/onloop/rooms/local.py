"""A room as one event loop has it: its sockets, what they have heard of, what is missing.

Nothing here waits, but for `Member.get`; `onloop.rooms.hub` asks the layer and the database.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from onloop.rooms.wire import Event

logger = logging.getLogger("onloop.rooms")

# Dropped events are told in the log the first time, and again each time there are so many.
TOLD_EVERY = 1000


class Member:
    """A socket in a room, with an inbox of the events that it is still to be sent.

    An inbox that is full takes nothing any more: what comes is dropped until the socket has
    been sent what was in it. Then it is told to read the messages that it lacks from the
    database. So a client that does not read costs bounded memory, and loses no message.
    """

    __slots__ = ("_events", "_filled", "capacity", "overflowed", "room", "who")

    dropped = 0  # of all members

    def __init__(self, room: str, who: str | None, capacity: int) -> None:
        self.room = room
        self.who = who
        self.capacity = capacity
        self.overflowed = False
        # A list and a future: an `asyncio.Event` and a deque take 1.5 KiB, and most wait.
        self._events: list[Event] = []
        self._filled: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        if self.overflowed or len(self._events) >= self.capacity:
            self._drop()
        else:
            self._events.append(event)
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    async def get(self) -> dict[str, Any]:
        """Wait for events; return them as a message for the consumer.

        `{"type": "room.events", "events": [...]}`, or `{"type": "room.behind"}` where some
        were dropped. It puts nothing out of the inbox before it returns. One task may wait.
        """
        while not self._events and not self.overflowed:
            self._filled = asyncio.get_running_loop().create_future()
            await self._filled
        if self._events:
            events, self._events = self._events, []
            return {"type": "room.events", "events": events}
        # From here on the inbox takes events again: the consumer reads after that.
        self.overflowed = False
        return {"type": "room.behind"}

    def _drop(self) -> None:
        self.overflowed = True
        Member.dropped += 1
        if Member.dropped % TOLD_EVERY == 1:
            logger.warning(
                "A client in room %r does not read: an event is dropped, the %dth of this "
                "process. Messages among them are sent later, from the database.",
                self.room,
                Member.dropped,
            )


class LocalRoom:
    """What an event loop knows of a room that it has sockets in.

    `last`: all messages up to this number have been given to the members; None until it has
    been read. `wanted`: the highest number heard of. Who joins reads what was before from the
    database, *after* it has become a member, and skips what it then gets twice.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: set[Member] = set()
        self.last: int | None = None
        self.wanted = 0
        self.present: set[str] = set()
        self.presence_changed = False
        self.subscribed = False
        self.opening: asyncio.Task[None] | None = None
        # Reads what is missing; while it does, nothing is given to members past it.
        self.looking: asyncio.Task[None] | None = None

    @property
    def has_to_look(self) -> bool:
        return self.presence_changed or (self.last is not None and self.wanted > self.last)

    def hear(self, event: Event) -> None:
        """Give an announced event to the members, a message only if it is the next one.

        One that is not leaves `wanted` ahead of `last`: those before it have to be read first.
        """
        number = event["number"] if event["type"] == "message" else None
        if number is None:
            self.give(event)
            return
        self.wanted = max(self.wanted, number)
        if self.looking is None and self.last is not None and number == self.last + 1:
            self.last = number
            self.give(event)

    def read(self, events: list[Event], known: int) -> None:
        """Give messages that were read: all that exist after `last`, up to the page's end.

        `known`: what `wanted` was before the reading. Up to there, what was not found does not
        exist any more. An empty page is the last one.
        """
        assert self.last is not None
        for event in events:
            if event["number"] > self.last:
                self.last = event["number"]
                self.give(event)
        if not events:
            self.last = max(self.last, known)

    def see(self, present: set[str]) -> None:
        """Tell the members who came and who left."""
        came, left = present - self.present, self.present - present
        self.present = present
        if came or left:
            self.give(
                {
                    "type": "presence",
                    "room": self.name,
                    "joined": sorted(came),
                    "left": sorted(left),
                }
            )

    def give(self, event: Event) -> None:
        for member in self.members:
            member.put(event)
