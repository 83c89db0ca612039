"""The rooms of one event loop: one subscription and one reader for all of its sockets.

A room's group has one channel for each event loop, whatever the number of sockets. Three ways
lead to a message, and the first that brings it counts: its announcement; a later one, whose
number shows that something is missing; a look into the database at each heartbeat. So nothing
that is saved stays unheard of for longer than a heartbeat, whatever happens to the layer.

Tasks here start in a context of their own: they serve all sockets, and must be in nobody's
transaction, scope or thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from onloop import bridge, conf
from onloop.db.scope import scope
from onloop.rooms import presence, sending, wire
from onloop.rooms.local import LocalRoom, Member
from onloop.rooms.models import Message, Room

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("onloop.rooms")

PAGE = 100
# Seconds between attempts to hear from a layer that fails: from the one to the other.
BACK_OFF_S = (0.1, 2.0)

_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """The hub of the running loop; it begins with its first socket and ends with the last."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        for dead in [other for other in _hubs if other.is_closed()]:
            del _hubs[dead]
        _hubs[loop] = Hub(loop)
    return _hubs[loop]


class Hub:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        layer = get_channel_layer()
        if layer is None:
            raise ImproperlyConfigured(
                'onloop.rooms needs CHANNEL_LAYERS["default"]; see docs/rooms.md.'
            )
        self.layer: Any = layer
        self.rooms: dict[str, LocalRoom] = {}
        self.roster = presence.Roster()
        self.channel: str | None = None
        # Nothing is asked of a layer that has just failed, but by the heartbeat.
        self.layer_fails = False
        self._groups = asyncio.Lock()  # entering and leaving a group must not overtake
        self._emptied: set[str] = set()
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._keeper = self._start(self._run())

    # --- sockets --------------------------------------------------------------------------

    async def join(self, member: Member) -> LocalRoom:
        """Make `member` one of its room; what is announced from now on comes to it.

        Raises what the database raises if it cannot be asked; then it is no member.
        """
        name = member.room
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = LocalRoom(name)
            room.opening = self._start_asking(self._open(room))
        room.members.add(member)
        if member.who is not None:
            self.roster.enter(name, member.who)
        try:
            assert room.opening is not None
            await asyncio.shield(room.opening)
            if member.who is not None:
                await self._round()
        except BaseException:
            self.drop(member)
            raise
        return room

    async def leave(self, member: Member) -> None:
        """The same as `drop`, and wait until others can see it."""
        self.drop(member)
        if _hubs.get(self.loop) is self:
            await self._round()
        if not self.rooms:
            await asyncio.wait([self._keeper], timeout=sending.LAYER_TIMEOUT_S)

    def drop(self, member: Member) -> None:
        """Take a socket out of its room, without waiting. Harmless if it is out."""
        room = self.rooms.get(member.room)
        if room is None or member not in room.members:
            return
        room.members.discard(member)
        if member.who is not None:
            self.roster.leave(member.room, member.who)
        if not room.members:
            del self.rooms[room.name]
            self._emptied.add(room.name)
        self._wake.set()

    async def _round(self) -> None:
        """Wait for the keeper to have done what is to be done now."""
        done = self.loop.create_future()
        self._waiting.append(done)
        self._wake.set()
        await done

    # --- rooms ----------------------------------------------------------------------------

    async def _open(self, room: LocalRoom) -> None:
        if not self.layer_fails:
            await self._subscribe(room)
        # After that: what is not read here is announced.
        lasts, present = await self._ask(_read, [room.name])
        room.present |= present[room.name]
        room.last = lasts.get(room.name, 0)
        self._look_if_needed(room)

    async def _subscribe(self, room: LocalRoom, *, again: bool = False) -> bool:
        try:
            async with self._groups, asyncio.timeout(sending.LAYER_TIMEOUT_S):
                if self.layer_fails and not again:  # while this one waited
                    return False
                if self.rooms.get(room.name) is room:
                    await self.layer.group_add(wire.group_of(room.name), await self._channel())
                    room.subscribed = True
        except Exception as exc:  # noqa: BLE001 - whatever a layer raises
            self._note_failure(exc)
            return False
        return True

    async def _channel(self) -> str:
        if self.channel is None:
            self.channel = await self.layer.new_channel()
            self._pump = self._start(self._listen(self.channel))
        return self.channel

    _pump: asyncio.Task[None] | None = None

    def _look_if_needed(self, room: LocalRoom) -> None:
        if room.has_to_look and room.looking is None and self.rooms.get(room.name) is room:
            room.looking = self._start_asking(self._look(room))
            room.looking.add_done_callback(lambda _: self._looked(room))

    async def _look(self, room: LocalRoom) -> None:
        """Read what the room lacks. If the database fails, the next heartbeat tries again."""
        # Not cancelled when the room is left: a cancelled statement costs a test's transaction.
        while room.has_to_look and self.rooms.get(room.name) is room:
            if room.presence_changed:
                room.presence_changed = False
                room.see((await self._ask(presence.read, [room.name]))[room.name])
            if room.last is not None and room.wanted > room.last:
                wanted = room.wanted
                room.read(await self._ask(_read_page, room.name, room.last), wanted)

    def _looked(self, room: LocalRoom) -> None:
        task, room.looking = room.looking, None
        assert task is not None
        if task.cancelled():
            return
        if error := task.exception():
            logger.error("Room %r could not be looked into: %r", room.name, error)
        else:
            self._look_if_needed(room)

    # --- the layer ------------------------------------------------------------------------

    async def _listen(self, channel: str) -> None:
        pause_s, longest_s = BACK_OFF_S
        while True:
            try:
                message = await self.layer.receive(channel)
            except Exception as exc:  # noqa: BLE001 - whatever a layer raises
                self._note_failure(exc)
                await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311
                pause_s = min(2 * pause_s, longest_s)
                continue
            pause_s = BACK_OFF_S[0]
            try:
                event = wire.unpacked(message["event"])
                for name in message["rooms"]:
                    if room := self.rooms.get(name):
                        self._hear(room, event, message.get("present"))
            except Exception:
                # As another version of a process sends it; the heartbeat finds what is saved.
                logger.exception(
                    "A message of the channel layer cannot be read, and is dropped."
                )

    def _hear(self, room: LocalRoom, event: wire.Event, present: str | None) -> None:
        if present is not None:
            room.presence_changed |= present != self.roster.key
        else:
            room.hear({**event, "room": room.name})
        self._look_if_needed(room)

    def _note_failure(self, error: Exception) -> None:
        for room in self.rooms.values():
            room.subscribed = False
        if not self.layer_fails:
            logger.error(
                "The channel layer fails: %s: %s. Sockets stay; until it is back, messages "
                "come with each heartbeat, every %g s, and nothing else does.",
                type(error).__name__,
                error,
                conf.get().ROOMS_HEARTBEAT,
            )
        self.layer_fails = True

    # --- the keeper -----------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._keep()
        except asyncio.CancelledError:
            # The loop ends, with sockets in rooms. A layer may outlive it, and would go on
            # filling a channel that nobody reads.
            self._emptied.update(self.rooms)
            self.rooms.clear()
            await self._leave_groups()
            raise
        await self._end()

    async def _keep(self) -> None:
        """Write who is there, and at each heartbeat look for what nobody has told."""
        beat_at = self.loop.time()
        waiting: list[asyncio.Future[None]] = []
        try:
            while True:
                try:
                    async with asyncio.timeout_at(beat_at):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                waiting, self._waiting = self._waiting, []
                beat = self.loop.time() >= beat_at
                if beat:
                    beat_s = conf.get().ROOMS_HEARTBEAT
                    beat_at = self.loop.time() + beat_s * random.uniform(0.9, 1)  # noqa: S311
                await self._work(beat=beat)
                _release(waiting)
                if not self.rooms and not self._waiting:
                    break
        finally:
            # From here on there is another hub for who comes; nothing has waited since.
            if _hubs.get(self.loop) is self:
                del _hubs[self.loop]
            _release([*waiting, *self._waiting])
            if self._pump is not None:
                self._pump.cancel()

    async def _work(self, *, beat: bool) -> None:
        await self._leave_groups()
        if beat or not self.roster.is_written:
            try:
                changed = await self._ask(self.roster.write, beat=beat)
            except Exception:
                logger.exception("Who is in the rooms of this process could not be written.")
            else:
                await self._tell_presence(changed)
        if beat and self.rooms:
            if self.layer_fails or not all(room.subscribed for room in self.rooms.values()):
                await self._subscribe_all()
            try:
                await self._look_everywhere()
            except Exception:
                logger.exception("The rooms of this process could not be looked into.")

    async def _tell_presence(self, changed: set[str]) -> None:
        for name in changed:
            if room := self.rooms.get(name):
                room.presence_changed = True
                self._look_if_needed(room)
            if not self.layer_fails:
                try:
                    await sending.publish([name], {}, present=self.roster.key)
                except Exception as exc:  # noqa: BLE001 - others see it at their heartbeat
                    self._note_failure(exc)

    async def _subscribe_all(self) -> None:
        room: LocalRoom | None = None
        for room in list(self.rooms.values()):
            if not await self._subscribe(room, again=True):
                return
        if self.layer_fails and room is not None:
            try:  # the pub/sub layer does not ask Redis for a group that it has
                await sending.publish([room.name], {}, present=self.roster.key)
            except Exception:  # noqa: BLE001 - it is known to fail
                return
            self.layer_fails = False
            logger.warning("The channel layer is back.")

    async def _leave_groups(self) -> None:
        while self._emptied and self.channel is not None and not self.layer_fails:
            name = self._emptied.pop()
            try:
                async with self._groups, asyncio.timeout(sending.LAYER_TIMEOUT_S):
                    if name not in self.rooms:
                        await self.layer.group_discard(wire.group_of(name), self.channel)
            except Exception as exc:  # noqa: BLE001 - whatever a layer raises
                self._note_failure(exc)

    async def _look_everywhere(self) -> None:
        lasts, present = await self._ask(_read, list(self.rooms))
        for room in list(self.rooms.values()):
            if room.name in present and present[room.name] != room.present:
                room.presence_changed = True
            last = lasts.get(room.name, 0)
            if room.last is not None and last > max(room.last, room.wanted):
                room.subscribed = False  # nobody has told: is it still in its group?
            room.wanted = max(room.wanted, last)
            self._look_if_needed(room)

    async def _end(self) -> None:
        while self._pump is not None and not self._pump.done():
            # Python 3.11's `wait_for`, which redis-py calls, may swallow a cancellation.
            self._pump.cancel()
            await asyncio.wait([self._pump], timeout=0.1)
        self.layer_fails = False  # whatever it was, it is tried once
        await self._leave_groups()
        if self._asking:
            await asyncio.wait(self._asking)
        try:
            await self._ask(self.roster.end)
        except Exception:
            logger.exception("The presence of this process is left to expire.")

    # --- tasks ----------------------------------------------------------------------------

    def _start(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coro, context=contextvars.Context())
        # An error is logged, or raised by who waits for the task, if anybody still does.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _start_asking(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one that the end of this hub waits for."""
        task = self._start(coro)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the database, and hold no connection after that."""
        async with scope():
            return await bridge.run(fn, *args, **kwargs)


def _release(waiting: list[asyncio.Future[None]]) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(None)


def read_lasts(names: list[str]) -> dict[str, int]:
    """The number of the last message of each room that has any."""
    rooms = Room.objects.using(router.db_for_write(Room))
    lasts: dict[str, int] = {}
    for some in presence.chunks(names):
        lasts.update(rooms.filter(name__in=some).values_list("name", "last"))
    return lasts


def _read(names: list[str]) -> tuple[dict[str, int], dict[str, set[str]]]:
    return read_lasts(names), presence.read(names)


def _read_page(name: str, after: int) -> list[wire.Event]:
    # From where it was written: a replica may not have it yet.
    page = Message.objects.page(
        name, after=after, limit=PAGE, using=router.db_for_write(Message)
    )
    return [wire.message_event(name, message) for message in page]
