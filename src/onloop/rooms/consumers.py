"""A consumer for a room: who may come in, what was said, what is said, who is there.

Handlers of one socket never run at once: Channels gives a consumer one message at a time. So
what is sent to a client here has one order.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import parse_qs

from channels import consumer as channels_consumer
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import router, transaction

from onloop import bridge
from onloop.rooms import sending, wire
from onloop.rooms.errors import AnnounceFailed, Refused
from onloop.rooms.hub import Hub, hub, read_lasts
from onloop.rooms.local import LocalRoom, Member
from onloop.rooms.models import Message

logger = logging.getLogger("onloop.rooms")


class RoomConsumer(AsyncJsonWebsocketConsumer):
    """A socket in a room, `path("rooms/<room>/", RoomConsumer.as_asgi())`.

    docs/rooms.md has what clients send and get. To be overridden: `authorise`, `room_name`,
    `who`, `clean`, and `receive_<type>` for more kinds of frames.

    It has no channel of its own: `channel_name` and `groups` are for other consumers. What is
    for one user goes to a room of that user.
    """

    # Messages in a frame of history, and as many of them as a client that was away is sent;
    # one that lacks more gets the newest page, and asks for others when they are looked at.
    page_size = 50
    catch_up = 1000
    # Events that wait for a client that does not read; what comes then is read later.
    inbox_size = 100
    # Characters of a frame.
    max_frame = 64 * 1024

    room: LocalRoom | None = None
    name = ""
    # All messages up to this number have been sent to the client.
    sent = 0
    _hub: Hub | None = None

    # --- hooks ------------------------------------------------------------------------------

    async def authorise(self) -> bool:
        """May this socket come in? By default those who are logged in may."""
        user = self.scope.get("user")
        return user is not None and await bridge.run(lambda: bool(user.is_authenticated))

    def room_name(self) -> str:
        """The name of the room: by default what the address has for `room`."""
        return str(self.scope["url_route"]["kwargs"]["room"])

    def who(self) -> str | None:
        """The name in the list of those who are there; None: it is not in it."""
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            return None
        return str(user.get_username())

    async def clean(self, body: Any) -> Any:
        """Return what is saved for a body that the client posts; raise `Refused` to refuse."""
        return body

    async def save(self, body: Any, key: str | None) -> Message:
        """Save what was posted, and return the message.

        It runs inside a transaction, at whose commit the message is announced. What else
        belongs to the message is saved here too, after `await super().save(body, key)`, which
        locks the room; if that gives a message that is `repeated`, a post was sent again, and
        everything has been saved before. Raise `Refused` to refuse: all is rolled back.
        """
        return await sending.asend(self.name, body, sender=self._sender(), key=key)

    # --- the socket -------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """`AsyncConsumer.__call__`, with the room's inbox in place of a channel."""
        self.scope = scope
        self.base_send = send
        try:
            name = wire.check_name(self.room_name())
        except ValueError:
            await receive()
            await send({"type": "websocket.close", "code": 4404})
            return
        self.name = name
        self._inbox = Member(name, None, self.inbox_size)
        try:
            # By its module, where Onloop gives each message a bridge and a scope.
            await channels_consumer.await_many_dispatch(  # type: ignore[attr-defined]
                [receive, self._inbox.get], self.dispatch
            )
        except StopConsumer:
            pass
        finally:
            if self._hub is not None:
                self._hub.drop(self._inbox)

    async def connect(self) -> None:
        after = self._after()
        if not await self.authorise():
            await self.close(4403)
            return
        await self.accept()
        who = await bridge.run(self.who)
        self._inbox.who = None if who is None else wire.name_of(who)
        self._hub = hub()
        self.room = await self._hub.join(self._inbox)
        await self.send_json(
            {
                "type": "joined",
                "room": self.name,
                "last": self.room.last,
                "present": self._present(),
            }
        )
        await self._send_past(after)

    async def websocket_disconnect(self, message: Any) -> None:
        if self._hub is not None:
            await self._hub.leave(self._inbox)
        await super().websocket_disconnect(message)

    async def room_events(self, message: Any) -> None:
        for event in message["events"]:
            if event["type"] != "message":
                await self.send_json(event)
            elif event["number"] > self.sent:
                await self.send_json(event)
                self.sent = event["number"]

    async def room_behind(self, message: Any) -> None:
        """The inbox has dropped something: messages are read, the rest is told anew."""
        assert self.room is not None
        await self._send_past(self.sent)
        await self.receive_present({})

    # --- frames of the client ---------------------------------------------------------------

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        ref = None
        try:
            if text_data is None or len(text_data) > self.max_frame:
                raise Refused(f"A frame is text of at most {self.max_frame} characters.")
            content = _parse(text_data)
            ref = content.get("ref")
            await self.receive_json(content)
        except Refused as refused:
            await self.send_json({"type": "error", "error": str(refused), "ref": ref})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        kind = content.get("type")
        handler = None
        if isinstance(kind, str) and kind.isidentifier() and kind not in {"json"}:
            handler = getattr(self, f"receive_{kind}", None)
        if handler is None:
            raise Refused(f"There is no frame of type {str(kind)[:50]!r}.")
        await handler(content)

    async def receive_post(self, content: dict[str, Any]) -> None:
        """`{"type": "post", "body", "ref", "key"}`, answered when it is committed."""
        if "body" not in content:
            raise Refused('A post has a "body".')
        body = await self.clean(content["body"])
        try:
            block: Any = transaction.atomic(using=router.db_for_write(Message))
            async with block:
                message = await self.save(body, content.get("key"))
            if not message.repeated:
                await bridge.run(sending.tell_in_test, self.name, message)
        except (ValueError, TypeError) as exc:
            raise Refused(str(exc)) from exc
        await self.send_json(
            {"type": "posted", "number": message.number, "ref": content.get("ref")}
        )

    async def receive_typing(self, content: dict[str, Any]) -> None:
        """`{"type": "typing"}`: the others in the room are told, if the layer works."""
        try:
            await sending.aannounce(self.name, "typing", who=self._inbox.who)
        except AnnounceFailed as exc:
            raise Refused("It could not be announced.") from exc

    async def receive_history(self, content: dict[str, Any]) -> None:
        """`{"type": "history", "before": number}`: an older page."""
        before = content.get("before")
        if before is not None and not _is_number(before):
            raise Refused('"before" is the number of a message.')
        events = await self._page(before=before)
        await self._send_history(events, more=bool(events) and events[0]["number"] > 1)

    async def receive_present(self, content: dict[str, Any]) -> None:
        """`{"type": "present"}`: who is there."""
        await self.send_json({"type": "present", "room": self.name, "present": self._present()})

    # --- what was ---------------------------------------------------------------------------

    async def _send_past(self, after: int | None) -> None:
        """Send the messages after a number, or the newest page; what comes is in the inbox.

        A client that lacks more than `catch_up` messages, or that has seen what is not there,
        gets the newest page with `"reset": true`.
        """
        assert self.room is not None
        last = self.room.last or 0
        if after is not None and after > last:  # not announced yet, or never been
            newest = await bridge.run(read_lasts, [self.name])
            last = newest.get(self.name, 0)
        if after is None or not last - self.catch_up <= after <= max(last, self.sent):
            events = await self._page()
            more = bool(events) and events[0]["number"] > 1
            await self._send_history(events, more=more, reset=after is not None)
            self.sent = max(self.sent, last, *(event["number"] for event in events))
            return
        self.sent = max(self.sent, after)
        full = True
        while full:  # a page at least, which may be empty
            events = await self._page(after=self.sent)
            await self._send_history(events, more=False)
            self.sent = max([self.sent, *(event["number"] for event in events)])
            full = len(events) == self.page_size

    async def _send_history(self, events: list[Any], **more: Any) -> None:
        await self.send_json({"type": "history", "room": self.name, "messages": events, **more})

    async def _page(
        self, *, after: int | None = None, before: int | None = None
    ) -> list[wire.Event]:
        def read() -> list[wire.Event]:
            page = Message.objects.page(
                self.name,
                after=after,
                before=before,
                limit=self.page_size,
                using=router.db_for_write(Message),
            )
            return [wire.message_event(self.name, message) for message in page]

        return await bridge.run(read)

    # --- small things -----------------------------------------------------------------------

    def _present(self) -> list[str]:
        assert self.room is not None
        own = set() if self._inbox.who is None else {self._inbox.who}
        return sorted(self.room.present | own)

    def _sender(self) -> Any:
        user = self.scope.get("user")
        return user if user is not None and getattr(user, "pk", None) else None

    def _after(self) -> int | None:
        """The number that the client names in `?after=`: the last that it has seen."""
        query = parse_qs(self.scope.get("query_string", b"").decode("latin1"))
        text = query.get("after", [""])[-1]
        return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None


def _parse(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("A frame is JSON.") from None
    if not isinstance(content, dict):
        raise Refused("A frame is a JSON object.")
    try:  # before anybody calls a function for each level; the body is one level further in
        wire.check_depth(text, content, wire.MAX_DEPTH + 1)
    except ValueError as exc:
        raise Refused(str(exc)) from None
    return content


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
