"""``manage.py test``: who makes rooms, comes in, writes, and takes others out."""

import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.test import SimpleTestCase

import onloop.rooms
from accounts.models import Role
from notices.models import Notice
from rooms import people, services
from rooms.models import Membership, Room
from rooms.naming import slugs_for
from rooms.tests import TIMEOUT_S, RoomCase


class NamesTest(SimpleTestCase):
    def test_addresses_are_made_of_names(self) -> None:
        assert slugs_for("Café & Küche")[:2] == ["cafe-kuche", "cafe-kuche-2"]
        assert slugs_for("New")[0] == "new-2", "/rooms/new/ is another page"
        assert slugs_for("花園")[0] == "room"
        assert len(slugs_for("x" * 80)[-1]) <= 60


class PeopleTests(RoomCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        create = get_user_model().objects.create_user
        cls.guest, cls.owner = create("guest"), create("owner")
        cls.give(cls, cls.guest, Role.GUEST)
        cls.give(cls, cls.owner, Role.OWNER)
        cls.room.creator = cls.ada
        cls.room.save()
        Membership.objects.create(room=cls.room, user=cls.guest)

    async def post(self, user: Any, path: str, **form: Any) -> Any:
        await self.async_client.aforce_login(user)
        with self.captureOnCommitCallbacks(execute=True):
            return await self.async_client.post(f"/rooms/{path}", form)

    async def is_in(self, user: Any, slug: str = "garden") -> bool:
        return await Membership.objects.filter(user=user, room__slug=slug).aexists()

    async def test_members_make_rooms_and_guests_do_not(self) -> None:
        form = {"name": "Garden", "topic": "Another one", "is_open": "1"}
        assert (await self.post(self.guest, "new/", **form)).status_code == 403
        answer = await self.post(self.ben, "new/", **form)
        self.assertRedirects(answer, "/rooms/garden-2/", fetch_redirect_response=False)
        made = await Room.objects.aget(slug="garden-2")
        assert (made.is_open, made.creator_id) == (True, self.ben.pk)
        assert await self.is_in(self.ben, "garden-2")
        for name in ("", "...", "x" * 81):
            answer = await self.post(self.ben, "new/", name=name)
            self.assertContains(answer, "errorlist", status_code=400)

    async def test_everybody_joins_open_rooms_and_what_was_said_is_no_news(self) -> None:
        await onloop.rooms.asend("chat-garden", {"text": "Long ago"})
        assert (await self.post(self.stranger, "garden/join/")).status_code == 404
        await people.change(self.owner, "garden", {"is_open": True})
        inbox = await self.joined(self.stranger, "/rooms/")
        for _ in range(2):  # by a double click, say
            answer = await self.post(self.stranger, "garden/join/")
            self.assertRedirects(answer, "/rooms/garden/", fetch_redirect_response=False)
        await inbox.next_of("membership")
        assert (await Membership.objects.aget(user=self.stranger)).read == 1
        await self.post(self.stranger, "garden/leave/")
        assert not await self.is_in(self.stranger)
        await inbox.disconnect()

    async def test_rooms_are_managed_by_owners_and_by_who_made_them(self) -> None:
        pk = (await Membership.objects.aget(user=self.guest)).pk
        asked = {
            "garden/members/": {"name": "stranger"},
            f"garden/members/{pk}/remove/": {},
            "garden/settings/": {"name": "Orchard"},
            "garden/archive/": {"archived": "1"},
        }
        for path, form in asked.items():
            for user, status in ((self.ben, 403), (self.guest, 403), (self.stranger, 404)):
                assert (await self.post(user, path, **form)).status_code == status, path
        assert await self.is_in(self.guest)
        for user in (self.ada, self.owner):
            for path, form in asked.items():
                assert (await self.post(user, path, **form)).status_code == 302, path
            room = await Room.objects.aget(slug="garden")
            assert (room.name, room.archived is None) == ("Orchard", False)
            assert await self.is_in(self.stranger)
            assert not await self.is_in(self.guest)
            await self.post(user, "garden/archive/", archived="0")
            await Membership.objects.filter(user=self.stranger).adelete()
            await Membership.objects.acreate(room=room, user=self.guest, pk=pk)
            await Room.objects.aupdate(name="Garden")

    async def test_who_has_left_a_room_does_not_manage_it(self) -> None:
        await self.post(self.ada, "garden/leave/")
        assert (await self.post(self.ada, "garden/archive/", archived="1")).status_code == 404

    async def test_who_made_a_room_and_is_a_guest_by_now_does_not_manage_it(self) -> None:
        await self.arole(self.ada, Role.GUEST)
        assert (await self.post(self.ada, "garden/archive/", archived="1")).status_code == 403

    async def arole(self, user: Any, role: Role) -> None:
        """As another request does."""
        from accounts.models import Profile

        await Profile.objects.aupdate_or_create(user=user, defaults={"role": role})

    async def test_an_invitation_is_told_and_one_of_nobody_is_an_error(self) -> None:
        inbox = await self.joined(self.stranger, "/rooms/")
        await self.post(self.ada, "garden/members/", name=" @Stranger ")
        await inbox.next_of("membership")
        notice = await Notice.objects.aget(user=self.stranger)
        assert (notice.kind, notice.path) == ("room", "/rooms/garden/")
        for name, text in (
            ("nobody", "Nobody here has the user name"),
            ("no\0body", "Nobody here has such a user name"),
            ("n" * 10_000, "Nobody here has such a user name"),
            ("ben", "already"),
        ):
            answer = await self.post(self.ada, "garden/members/", name=name)
            self.assertContains(answer, text, status_code=400)
        await inbox.disconnect()

    async def test_who_is_taken_out_hears_no_more(self) -> None:
        ben = await self.joined(self.ben)
        pk = (await Membership.objects.aget(user=self.ben)).pk
        await self.post(self.ada, f"garden/members/{pk}/remove/")
        while (event := await ben.receive_output(TIMEOUT_S))["type"] != "websocket.close":
            pass
        assert event["code"] == 4403
        await ben.disconnect()
        assert (await Notice.objects.aget(user=self.ben)).path == "/rooms/"

    async def test_guests_read_and_do_not_write(self) -> None:
        await onloop.rooms.asend("chat-garden", {"text": "Rain!"})
        guest = await self.joined(self.guest)
        assert (await guest.next_of("history"))["messages"][0]["body"]["text"] == "Rain!"
        ref = str(uuid.uuid4())
        error = await guest.ask("error", type="post", body="Sun!", ref=ref)
        assert (error["error"], error["ref"]) == (services.GUEST, ref)
        assert (await guest.ask("error", type="typing"))["error"] == services.GUEST
        await guest.send_json_to({"type": "seen", "number": 1})
        answer = await self.post(self.guest, "garden/", text="Sun!", key=ref)
        self.assertContains(answer, services.GUEST, status_code=403)
        self.assertContains(answer, "Rain!", status_code=403)
        self.assertNotContains(answer, "<textarea", status_code=403)
        assert [message.number for message in await onloop.rooms.ahistory("chat-garden")] == [1]
        await guest.disconnect()

    async def test_a_changed_role_counts_at_once_in_a_socket_that_is_open(self) -> None:
        ben = await self.joined(self.ben)
        frame = {"type": "post", "body": "x"}
        for role, kind in ((Role.GUEST, "error"), (Role.MEMBER, "posted")):
            await self.arole(self.ben, role)
            await ben.ask(kind, **frame, key=str(uuid.uuid4()))
        await get_user_model().objects.filter(pk=self.ben.pk).aupdate(is_active=False)
        await ben.ask("error", **frame, key=str(uuid.uuid4()))
        await ben.disconnect()

    async def test_in_an_archived_room_nobody_writes_and_all_read(self) -> None:
        ben = await self.joined(self.ben)
        await self.post(self.ada, "garden/archive/", archived="1")
        await ben.next_of("changed")
        error = await ben.ask("error", type="post", body="x", key=str(uuid.uuid4()))
        assert error["error"] == services.ARCHIVED
        page = await self.async_client.get("/rooms/garden/")
        self.assertContains(page, services.ARCHIVED)
        await self.post(self.owner, "garden/archive/", archived="0")
        await ben.next_of("changed")
        await ben.ask("posted", type="post", body="x", key=str(uuid.uuid4()))
        await ben.disconnect()

    async def test_owners_see_rooms_by_invitation_and_read_none_of_them(self) -> None:
        for user, shown in ((self.owner, True), (self.stranger, False)):
            await self.async_client.aforce_login(user)
            page = (await self.async_client.get("/rooms/")).content.decode()
            assert ("/rooms/garden/members/" in page) == shown
            assert (await self.async_client.get("/rooms/garden/")).status_code == 404
            members = await self.async_client.get("/rooms/garden/members/")
            assert members.status_code == (200 if shown else 404)
