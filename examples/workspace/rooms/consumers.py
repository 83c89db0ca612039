"""The sockets of the pages. What a frame means is in Onloop's ``RoomConsumer``; here is what is
this service's own: who may come in, what may be said, what has been read."""

from typing import Any

from django.db import transaction

import notices.consumers
from notices import sessions
from onloop.rooms.consumers import RoomConsumer
from onloop.rooms.errors import Refused
from onloop.rooms.models import Message
from rooms import attachments, services
from rooms.errors import BadMessage, NotAllowed, NotAMember
from rooms.models import Membership
from rooms.naming import log_of


class ChatConsumer(sessions.OfSession, RoomConsumer):
    """A room, for its members."""

    max_frame = 16 * 1024
    member: Membership
    removed = False

    @property
    def slug(self) -> str:
        return str(self.scope["url_route"]["kwargs"]["slug"])

    def room_name(self) -> str:
        return log_of(self.slug)

    async def authorise(self) -> bool:
        if not await super().authorise():  # not logged in
            return False
        try:
            self.member = await services.membership(self.scope["user"], self.slug)
        except NotAMember:
            return False
        return True

    async def clean(self, body: Any) -> services.Draft:
        """A text, or ``{"text": text, "files": [ids]}``, one of which may be empty."""
        text, files = body, []
        if isinstance(body, dict):
            text, files = body.get("text", ""), body.get("files", [])
        try:
            return services.clean(text, files)
        except BadMessage as error:
            raise Refused(str(error)) from None

    async def save(self, body: services.Draft, key: str | None) -> Message:
        try:
            return await services.post(self.member, body, key)
        except (BadMessage, NotAllowed) as error:
            raise Refused(str(error)) from None
        except NotAMember:
            raise Refused("You are not a member of this room any more.") from None

    async def receive_typing(self, content: dict[str, Any]) -> None:
        try:
            async with transaction.atomic():
                await services.writing(self.member)
        except (NotAllowed, NotAMember) as error:
            raise Refused(str(error) or "You are not a member of this room any more.") from None
        await super().receive_typing(content)

    async def send_json(self, content: Any, close: bool = False) -> None:
        """Messages tell what has become of their files, as of now."""
        if content["type"] == "message":
            (body,) = await attachments.describe([content["body"]])
            content = {**content, "body": body}
        elif content["type"] == "history":
            bodies = await attachments.describe(each["body"] for each in content["messages"])
            told = zip(content["messages"], bodies, strict=True)
            content = {**content, "messages": [{**each, "body": body} for each, body in told]}
        await super().send_json(content, close)

    async def receive_seen(self, content: dict[str, Any]) -> None:
        """``{"type": "seen", "number": number}``: everything up to it is on the screen."""
        number = content.get("number")
        if type(number) is not int:
            raise Refused('"number" is the number of a message.')
        await services.mark_read(self.member, min(number, self.sent))

    async def connect(self) -> None:
        await super().connect()
        if self.room is not None:
            await self.send_state()

    async def room_events(self, message: Any) -> None:
        if self.is_over(message["events"]):
            self.removed = True
            await self.close(sessions.OVER)
            return
        mine, events = [], []
        for event in message["events"]:
            if event["type"] == sessions.KIND:
                continue
            if event["type"] not in ("removed", "role"):
                events.append(event)
            elif event["user"] == self.member.user_id:
                mine.append(event)
        if mine:
            await self.send_state()
            events += [event for event in mine if event["type"] == "role"]
        if not self.removed:
            await super().room_events({**message, "events": events})

    async def room_behind(self, message: Any) -> None:
        """Something was dropped, which may have been a removal."""
        await self.send_state()
        if not self.removed:
            await super().room_behind(message)

    async def send_state(self) -> None:
        """``{"type": "state", "silent": reason}``: why nothing may be written here; empty if it
        may. A page that shows something else is older than that."""
        if not await self.authorise():
            await self.send_away()
        else:
            await self.send_json({"type": "state", "silent": services.why_silent(self.member)})

    async def send_away(self) -> None:
        if not self.removed:
            self.removed = True
            await self.send_json({"type": "removed"})
            await self.close(4403)


class InboxConsumer(notices.consumers.InboxConsumer):
    """The socket of each page tells it how many messages are unread in which rooms."""

    async def send_state(self) -> None:
        await super().send_state()
        await self.send_rooms()

    async def send_rooms(self) -> None:
        """``{"type": "rooms", "rooms": rooms}``: all that count, and no other."""
        rooms = [
            {"slug": member.room.slug, "last": member.last, "read": member.read}
            for member in await services.current_of(self.scope["user"]).alist()
        ]
        await self.send_json({"type": "rooms", "rooms": rooms})

    async def room_events(self, message: Any) -> None:
        """Which rooms count has changed: the page is told before it is told of the change."""
        if any(event["type"] == "membership" for event in message["events"]):
            await self.send_rooms()
        await super().room_events(message)
