"""The socket of each page: what is for one user alone."""

from typing import Any

from notices import sessions
from notices.services import inbox_of, unread_of
from onloop.rooms.consumers import RoomConsumer
from onloop.rooms.errors import Refused


class InboxConsumer(sessions.OfSession, RoomConsumer):
    """How many notices are unread, ``{"type": "notices", "unread": number}``, at first and
    whenever that changes, and whatever else is announced to the user's inbox.
    """

    def room_name(self) -> str:
        return inbox_of(self.scope["user"].pk)

    def who(self) -> None:
        return None

    async def connect(self) -> None:
        await super().connect()
        if self.room is not None:
            await self.send_state()

    async def send_state(self) -> None:
        """What a page has to know that has heard nothing so far, or has missed something."""
        await self.send_unread()

    async def send_unread(self) -> None:
        unread = await unread_of(self.scope["user"]).acount()
        await self.send_json({"type": "notices", "unread": unread})

    async def room_events(self, message: Any) -> None:
        """Bells that ring at once are counted once. Who has no account any more hears none."""
        if any(event["type"] == "closed" for event in message["events"]):
            await self.close(4403)
            return
        if self.is_over(message["events"]):
            await self.close(sessions.OVER)
            return
        if any(event["type"] == "notices" for event in message["events"]):
            await self.send_unread()
        own = ("notices", sessions.KIND)
        others = [event for event in message["events"] if event["type"] not in own]
        await super().room_events({**message, "events": others})

    async def room_behind(self, message: Any) -> None:
        await self.send_state()

    async def receive_post(self, content: dict[str, Any]) -> None:
        raise Refused("Nothing is posted here.")
