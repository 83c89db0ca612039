"""The sockets of the pages. What a frame means is in Onloop's ``RoomConsumer``; here is what is
this service's own: who may come in, what may be said, what has been read."""

from typing import Any

import notices.consumers
from onloop.rooms.consumers import RoomConsumer
from onloop.rooms.errors import Refused
from rooms import services
from rooms.models import Membership


class ChatConsumer(RoomConsumer):
    """A room, for its members."""

    max_frame = 16 * 1024
    member: Membership
    removed = False

    @property
    def slug(self) -> str:
        return str(self.scope["url_route"]["kwargs"]["slug"])

    def room_name(self) -> str:
        return services.log_of(self.slug)

    async def authorise(self) -> bool:
        if not await super().authorise():  # not logged in
            return False
        try:
            self.member = await services.membership(self.scope["user"], self.slug)
        except services.NotAMember:
            return False
        return True

    async def receive_post(self, content: dict[str, Any]) -> None:
        """``{"type": "post", "body": text, "ref": UUID}``; sent twice, it is saved once."""
        try:
            body = services.clean(content.get("body"), content.get("ref"))
            message = await services.post(self.member, body)
        except services.BadMessage as error:
            raise Refused(str(error)) from None
        except services.NotAMember:
            raise Refused("You are not a member of this room any more.") from None
        await self.send_json(
            {"type": "posted", "number": message.number, "ref": content["ref"]}
        )

    async def receive_seen(self, content: dict[str, Any]) -> None:
        """``{"type": "seen", "number": number}``: everything up to it is on the screen."""
        number = content.get("number")
        if type(number) is not int:
            raise Refused('"number" is the number of a message.')
        await services.mark_read(self.member, min(number, self.sent))

    async def room_events(self, message: Any) -> None:
        removals = [event for event in message["events"] if event["type"] == "removed"]
        events = [event for event in message["events"] if event["type"] != "removed"]
        if any(event["user"] == self.member.user_id for event in removals):
            await self.send_away()
        if not self.removed:
            await super().room_events({**message, "events": events})

    async def room_behind(self, message: Any) -> None:
        """Something was dropped, which may have been the removal."""
        if not await self.authorise():
            await self.send_away()
        if not self.removed:
            await super().room_behind(message)

    async def send_away(self) -> None:
        if not self.removed:
            self.removed = True
            await self.close(4403)


class InboxConsumer(notices.consumers.InboxConsumer):
    """The socket of each page tells those about rooms how many messages are unread."""

    async def send_state(self) -> None:
        await super().send_state()
        rooms = [
            {"slug": member.room.slug, "last": member.last, "read": member.read}
            for member in await services.memberships_of(self.scope["user"]).alist()
        ]
        await self.send_json({"type": "rooms", "rooms": rooms})
