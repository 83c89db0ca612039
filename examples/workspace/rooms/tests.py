"""``manage.py test``: sockets of this service inside a test's transaction."""

import asyncio
import uuid
from typing import Any

from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import TestCase

import onloop.rooms
from accounts.models import Profile, Role
from rooms import services
from rooms.models import Membership, Room
from workspace.asgi import application

TIMEOUT_S = 90


class Socket(WebsocketCommunicator):
    async def next_of(self, kind: str) -> dict[str, Any]:
        while (frame := await self.receive_json_from(TIMEOUT_S))["type"] != kind:
            pass
        return frame

    async def ask(self, kind: str, **frame: Any) -> dict[str, Any]:
        await self.send_json_to(frame)
        return await self.next_of(kind)


class RoomCase(TestCase):
    """Ada and Ben are members of the garden."""

    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben, cls.stranger = create("ada"), create("ben"), create("stranger")
        cls.room = Room.objects.create(slug="garden", name="Garden")
        for user in (cls.ada, cls.ben):
            Membership.objects.create(room=cls.room, user=user)

    async def socket(self, user: Any = None, path: str = "/rooms/garden/") -> Socket:
        headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
        if user is not None:
            await self.async_client.aforce_login(user)
            session = self.async_client.cookies["sessionid"].value
            headers.append((b"cookie", f"sessionid={session}".encode()))
        return Socket(application, path, headers)

    async def joined(self, user: Any, path: str = "/rooms/garden/") -> Socket:
        socket = await self.socket(user, path)
        accepted, code = await socket.connect(TIMEOUT_S)
        assert accepted, code
        await socket.next_of("joined")
        return socket

    def give(self, user: Any, role: Role) -> None:
        Profile.objects.update_or_create(user=user, defaults={"role": role})


class RoomTests(RoomCase):
    async def test_members_hear_each_other_and_see_who_is_there(self) -> None:
        ada, ben = await self.joined(self.ada), await self.joined(self.ben)
        async with asyncio.timeout(TIMEOUT_S):
            while (await ada.ask("present", type="present"))["present"] != ["ada", "ben"]:
                pass
        key = str(uuid.uuid4())
        await ada.send_json_to({"type": "typing"})
        assert (await ben.next_of("typing"))["who"] == "ada"
        with self.captureOnCommitCallbacks(execute=True):
            posted = await ada.ask("posted", type="post", body=" Rain! \r\n", key=key, ref=7)
        assert posted == {"type": "posted", "number": 1, "ref": 7}
        heard = await ben.next_of("message")
        assert (heard["sender"], heard["body"], heard["key"]) == ("ada", {"text": "Rain!"}, key)
        await ada.disconnect()
        assert (await ben.next_of("presence"))["left"] == ["ada"]
        await ben.disconnect()

    async def test_whoever_is_no_member_gets_in_nowhere(self) -> None:
        for user in (self.stranger, None):
            for path in ("/rooms/garden/", "/rooms/nowhere/"):
                accepted, _ = await (await self.socket(user, path)).connect(TIMEOUT_S)
                assert not accepted
        assert not (await (await self.socket(None, "/rooms/")).connect(TIMEOUT_S))[0]
        await self.async_client.aforce_login(self.stranger)
        assert (await self.async_client.get("/rooms/garden/")).status_code == 404

    async def test_a_message_that_comes_twice_is_saved_once(self) -> None:
        ada = await self.joined(self.ada)
        frame = {"type": "post", "body": "Once", "key": str(uuid.uuid4())}
        assert (await ada.ask("posted", **frame))["number"] == 1
        assert (await ada.ask("posted", **frame))["number"] == 1
        ben = await self.joined(self.ben)
        assert (await ben.ask("posted", **frame))["number"] == 2, "another's own"
        for socket in (ada, ben):
            await socket.disconnect()

    async def test_what_is_no_message_is_refused_and_the_socket_stays(self) -> None:
        ada = await self.joined(self.ada)
        ref = str(uuid.uuid4())
        for body in ("", " \n ", None, 7, ["a"], "x" * 2001, "a\0b", "\ud800"):
            error = await ada.ask("error", type="post", body=body, ref=ref)
            assert error["ref"] == ref
        for bad_key in (7, "", "\n", [ref], "x" * 101):
            await ada.ask("error", type="post", body="Hello", key=bad_key)
        for number in (None, "1", True, 1.5):
            await ada.ask("error", type="seen", number=number)
        assert (await ada.ask("posted", type="post", body="x", ref=ref))["number"] == 1
        await ada.disconnect()

    async def test_the_list_counts_what_was_not_read(self) -> None:
        await services.notify("garden", "The gate is open.")
        await services.notify("nowhere", "Nobody hears this.")
        inbox = await self.joined(self.ada, "/rooms/")
        (counted,) = (await inbox.next_of("rooms"))["rooms"]
        assert counted == {"slug": "garden", "last": 1, "read": 0}
        await inbox.ask("error", type="post", body="x")
        ada = await self.joined(self.ada)
        await ada.next_of("history")
        with self.captureOnCommitCallbacks(execute=True):
            await ada.send_json_to({"type": "seen", "number": 10**9})
            await ada.ask("present", type="present")  # after it
        assert (await inbox.next_of("unread"))["read"] == 1, "no more than there is"
        for socket in (ada, inbox):
            await socket.disconnect()

    async def test_a_page_shows_history_and_takes_the_form(self) -> None:
        for number in range(60):
            await onloop.rooms.asend("chat-garden", {"text": f"<b>Line {number}</b>"})
        await self.async_client.aforce_login(self.ada)
        page = (await self.async_client.get("/rooms/garden/")).content.decode()
        assert "&lt;b&gt;Line 59&lt;/b&gt;" in page
        assert "Line 9&lt;" not in page
        older = (await self.async_client.get("/rooms/garden/?before=11")).content.decode()
        assert "Line 9&lt;" in older
        for before in ("x", "-1", "", "9" * 30):
            answer = await self.async_client.get("/rooms/garden/", {"before": before})
            assert answer.status_code == 404
        form = {"text": "By form", "key": str(uuid.uuid4())}
        for _ in range(2):
            answer = await self.async_client.post("/rooms/garden/", form)
            self.assertRedirects(answer, "/rooms/garden/", fetch_redirect_response=False)
        assert await Membership.objects.filter(read=61).acount() == 1
        answer = await self.async_client.post("/rooms/garden/", {**form, "text": " "})
        self.assertContains(answer, "Write something first.", status_code=400)
        answer = await self.async_client.post("/rooms/garden/", {**form, "key": ""})
        self.assertContains(answer, "The key of a message", status_code=400)
