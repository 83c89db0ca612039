"""``manage.py test``: an account that is closed while its pages are open."""

from rooms.tests import TIMEOUT_S, RoomCase


class ClosedTests(RoomCase):
    async def test_its_sockets_are_closed_and_others_stay(self) -> None:
        inbox, room = await self.joined(self.ben, "/notices/"), await self.joined(self.ben)
        other = await self.joined(self.ada)
        self.ben.is_active = False
        with self.captureOnCommitCallbacks(execute=True):
            await self.ben.asave()
        for socket in (inbox, room):
            while (frame := await socket.receive_output(TIMEOUT_S))["type"] == "websocket.send":
                pass
            assert (frame["type"], frame["code"]) == ("websocket.close", 4403)
            await socket.disconnect()
        accepted, _ = await (await self.socket(self.ben)).connect(TIMEOUT_S)
        assert not accepted
        with self.captureOnCommitCallbacks(execute=True):
            await other.ask("posted", type="post", body="Still here", key="a-key")
        await other.disconnect()
