"""Who is in which room, as rows of the database.

Each event loop with sockets has a row of its own and renews it; what a killed process leaves
behind counts no more when that row is too old, and is removed by any other. Time is the
database's, so the clocks of machines do not matter.

The functions here are synchronous: they run in a bridge.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db import router, transaction
from django.db.models.functions import Now

from onloop import conf
from onloop.rooms.models import Presence, Server

# A server that has not said for so many heartbeats that it lives is dead.
BEATS = 4
# Parameters of one statement; SQLite took 999 for long.
CHUNK = 300

Entry = tuple[str, str]  # room, who


def oldest() -> Any:
    """The oldest `seen` of a server that lives."""
    return Now() - timedelta(seconds=BEATS * conf.get().ROOMS_HEARTBEAT)


def read(rooms: Collection[str]) -> dict[str, set[str]]:
    """Who is in each of `rooms`."""
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for some in chunks(rooms):
        rows = Presence.objects.using(router.db_for_write(Presence)).filter(
            room__in=some, server__seen__gte=oldest()
        )
        for room, who in rows.values_list("room", "who"):
            found[room].add(who)
    return found


def chunks(items: Collection[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, CHUNK)):
        yield some


class Roster:
    """Who is there by the sockets of this event loop, and what of it stands in the database.

    `enter` and `leave` only note; `write` makes the rows so.
    """

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self._sockets: Counter[Entry] = Counter()
        self._written: set[Entry] = set()
        self._known = False

    def enter(self, room: str, who: str) -> None:
        self._sockets[room, who] += 1

    def leave(self, room: str, who: str) -> None:
        self._sockets[room, who] -= 1
        if self._sockets[room, who] <= 0:
            del self._sockets[room, who]

    @property
    def is_written(self) -> bool:
        return self._known and self._written == self._sockets.keys()

    def write(self, *, beat: bool) -> set[str]:
        """Bring the rows up to date; return the rooms in which somebody came or went.

        `beat`: also say that this server lives, and remove those that are dead.
        """
        if not self._sockets and not self._written:
            return set()
        alias = router.db_for_write(Server)
        wanted, there = set(self._sockets), self._written
        known, self._known = self._known, False  # until it is done
        with transaction.atomic(using=alias):
            if beat or not known:
                known = self._beat(alias) and known
            if not known:
                self._remove(alias, server=self.key)
                there = set()
            came, gone = wanted - there, there - wanted
            rows = [Presence(server_id=self.key, room=room, who=who) for room, who in came]
            Presence.objects.using(alias).bulk_create(rows, batch_size=CHUNK)
            by_room: dict[str, list[str]] = {}
            for room, who in gone:
                by_room.setdefault(room, []).append(who)
            for room, names in by_room.items():
                for some in chunks(names):
                    self._remove(alias, server=self.key, room=room, who__in=some)
        changed = {room for room, _ in wanted ^ self._written | came | gone}
        self._known, self._written = True, wanted
        return changed

    def end(self) -> None:
        """Remove what this server has."""
        Server.objects.using(router.db_for_write(Server)).filter(key=self.key).delete()

    def _beat(self, alias: str) -> bool:
        """Say that this server lives; False if others had removed it, thinking it dead."""
        servers = Server.objects.using(alias)
        known = bool(servers.filter(key=self.key).update(seen=Now()))
        if not known:
            servers.create(key=self.key, seen=Now())
        for key in servers.filter(seen__lt=oldest()).values_list("key", flat=True):
            servers.filter(key=key, seen__lt=oldest()).delete()
        return known

    @staticmethod
    def _remove(alias: str, **of: Any) -> None:
        Presence.objects.using(alias).filter(**of).delete()
