"""The page's socket: what the page shows, each time that something is heard of."""

from typing import Any

from channels import consumer as channels_consumer
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from operations.access import is_staff
from operations.station import Viewer, station


class OperationsConsumer(AsyncJsonWebsocketConsumer):
    """For the staff. Who looks is asked again now and then whether they still are."""

    # So many boards are sent in between.
    ask_again_after = 15

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """``AsyncConsumer.__call__``, with the station's news in place of a channel."""
        self.scope = scope
        self.base_send = send
        self.sent = 0
        self.watching = False
        self.viewer = Viewer()
        try:
            await channels_consumer.await_many_dispatch(
                [receive, self.viewer.get], self.dispatch
            )
        except StopConsumer:
            pass
        finally:
            station().unwatch(self.viewer)

    async def connect(self) -> None:
        if not await is_staff(self.scope.get("user")):
            await self.close(4403)
            return
        await self.accept()
        station().watch(self.viewer)
        self.watching = True

    async def operations_news(self, message: Any) -> None:
        if not self.watching:
            return
        self.sent += 1
        if self.sent % self.ask_again_after == 0 and not await is_staff(self.scope["user"]):
            self.watching = False
            station().unwatch(self.viewer)
            await self.close(4403)
            return
        await self.send_json(station().view())

    async def receive(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is said here; what comes shows that somebody is there."""
