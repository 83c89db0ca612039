"""Sending to rooms from anywhere: each function has an `a` twin for coroutines.

What is saved is announced once its transaction is committed. An announcement may get lost (the
layer is away, a channel full, the process killed): sockets look into the database for what they
have not heard of. So only the saved rows are the truth, and announcements make it quick.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import router, transaction

from onloop import adapters, bridge
from onloop.db import node as nodes
from onloop.rooms import wire
from onloop.rooms.errors import AnnounceFailed

if TYPE_CHECKING:
    from onloop.rooms.models import Message

logger = logging.getLogger("onloop.rooms")

# Seconds that the channel layer may take for one event.
LAYER_TIMEOUT_S = 5.0
MAX_PAGE = 500
# Rooms that one message of the layer is for.
ROOMS_AT_ONCE = 500


def send(room: str, body: Any, *, sender: Any = None, key: str | None = None) -> Message:
    """Save a message in `room`, and announce it when the transaction is committed.

    `body` is anything that JSON can say, `sender` a user. Works in synchronous code of any
    kind: sync views, threads, tasks, `manage.py`. Returns the message with its number.

    `key` is what the sender calls the message, a UUID say, if it may be sent a second time
    because nobody knows whether the first arrived. Then the first is returned, with `repeated`
    set, and nothing is saved or announced.

    The room is locked until the transaction ends: in a long one, send at its end.

    Raises `ValueError` or `TypeError` for a name, body or key that cannot be, and
    `ImproperlyConfigured` where there is no channel layer. A layer that is away is logged only:
    the message is saved, and sockets find it.
    """
    from onloop.rooms.models import Message  # noqa: PLC0415 - apps are loaded by now

    wire.check_name(room)
    body = wire.clean(body)
    key = None if key is None else wire.check_key(key)
    _layer()
    alias = router.db_for_write(Message)
    with transaction.atomic(using=alias):
        message = Message.objects.append(room, body, sender, key)
        if message.repeated:
            return message
        tell = functools.partial(_tell, room, wire.message_event(room, message))
        transaction.on_commit(tell, using=alias)
    tell_in_test(room, message)
    return message


def tell_in_test(room: str, message: Message) -> None:
    """In a `TestCase`, announce a message: everybody is in its transaction, nothing commits."""
    from onloop.rooms.models import Message  # noqa: PLC0415 - see above

    alias = router.db_for_write(Message)
    if (root := nodes.root(alias)) is not None and nodes.innermost(alias) is root:
        _tell(room, wire.message_event(room, message))


async def asend(room: str, body: Any, *, sender: Any = None, key: str | None = None) -> Message:
    """As `send`, for `await`."""
    return await bridge.run(send, room, body, sender=sender, key=key)


def announce(room: str | Collection[str], kind: str, **data: Any) -> None:
    """Tell those in `room` now that something happened; it is not saved.

    They get `{"type": kind, "room": room, **data}`. For what nobody misses who was not there:
    somebody is typing, a row of a table has changed. `room` may be several rooms, the inboxes
    of all members of something: that asks the layer once for up to 500 of them.

    Raises `ValueError` or `TypeError` for what JSON cannot say, and `AnnounceFailed` if the
    layer is away; some of several rooms may have been told.
    """
    adapters.async_to_sync(aannounce)(room, kind, **data)


async def aannounce(room: str | Collection[str], kind: str, **data: Any) -> None:
    """As `announce`, for `await`."""
    rooms = [room] if isinstance(room, str) else list(dict.fromkeys(room))
    for name in rooms:
        wire.check_name(name)
    if kind == "message":
        raise ValueError('An event of type "message" is a saved one: use onloop.rooms.send().')
    event = {**wire.clean(data), "type": kind}
    _layer()
    try:
        await publish(rooms, event)
    except Exception as exc:
        where = f"room {rooms[0]!r}" if len(rooms) == 1 else f"{len(rooms)} rooms"
        raise AnnounceFailed(
            f"{kind!r} could not be announced in {where} ({type(exc).__name__}: {exc}). "
            "Is the server of CHANNEL_LAYERS running? What must not get lost is sent by "
            "onloop.rooms.send()."
        ) from exc


def history(
    room: str, *, after: int | None = None, before: int | None = None, limit: int = 50
) -> list[Message]:
    """A page of a room's messages, in their order: the newest, or those next to a number.

    `after` and `before` are numbers of messages: the first `limit` after one, or the last
    before one.

    Raises `ValueError` unless `limit` is from 1 to 500.
    """
    from onloop.rooms.models import Message  # noqa: PLC0415 - see above

    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"A page of history has 1 to {MAX_PAGE} messages, not {limit}.")
    return Message.objects.page(room, after=after, before=before, limit=limit)


async def ahistory(
    room: str, *, after: int | None = None, before: int | None = None, limit: int = 50
) -> list[Message]:
    """As `history`, for `await`."""
    return await bridge.run(history, room, after=after, before=before, limit=limit)


def present(room: str) -> list[str]:
    """The names of those who are in `room` by a socket of any living process."""
    from onloop.rooms import presence  # noqa: PLC0415 - see above

    return sorted(presence.read([room])[room])


async def apresent(room: str) -> list[str]:
    """As `present`, for `await`."""
    return await bridge.run(present, room)


async def publish(rooms: list[str], event: wire.Event, **more: Any) -> None:
    """Hand an event to the channel layer; each room's is given the room's name by its hub."""
    layer = _layer()
    # That of a layer which can: a channel in several groups gets a message once.
    send_to_many = getattr(layer, "group_send_many", None)
    at_once = ROOMS_AT_ONCE if send_to_many else 1
    packed = wire.packed(event)
    async with asyncio.timeout(LAYER_TIMEOUT_S):
        for start in range(0, len(rooms), at_once):
            some = rooms[start : start + at_once]
            groups = [wire.group_of(room) for room in some]
            message = {"type": "onloop.room", "rooms": some, "event": packed, **more}
            if send_to_many and len(groups) > 1:
                await send_to_many(groups, message)
            else:
                await layer.group_send(groups[0], message)


def _tell(room: str, event: wire.Event) -> None:
    """Announce a message that is saved."""
    try:
        adapters.async_to_sync(publish)([room], event)
    except Exception:
        logger.exception(
            "Message %s in room %r is saved, but could not be announced. Sockets will find it "
            "when they next look into the database.",
            event["number"],
            room,
        )


def _layer() -> Any:
    from channels.layers import get_channel_layer  # noqa: PLC0415 - may be not installed

    layer = get_channel_layer()
    if layer is None:
        raise ImproperlyConfigured(
            'onloop.rooms needs CHANNEL_LAYERS["default"]: '
            '"onloop.channels.layers.InMemoryChannelLayer" for one process, '
            '"onloop.channels.redis.RedisChannelLayer" for several.'
        )
    return layer
