"""``manage.py test``: whom a message means, and which files it shows."""

import asyncio
import tempfile
import uuid
from typing import Any
from unittest.mock import patch

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import SimpleTestCase, TransactionTestCase, override_settings

import onloop.rooms
from files import examining, storing
from files.models import StoredFile
from notices.models import Notice
from rooms import attachments, mentions, services
from rooms.models import Attachment, Membership, Room
from rooms.tests import RoomCase
from workspace.background import PACKAGE

# Jobs are noted, and not run.
NO_JOBS = {"default": {"BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend"}}


def reference() -> str:
    return str(uuid.uuid4())


class MentionsTest(SimpleTestCase):
    def test_names_are_found_whatever_follows_them(self) -> None:
        names = ["robin", "robin.reed", "a+b", "Ärla"]
        for text, meant in {
            "@robin": ["robin"],
            "Is @Robin, or @robin... there?": ["robin"],
            "@robin.reed. And @a+b!": ["robin.reed", "a+b"],
            "(@ÄRLA)": ["Ärla"],
            "@robinson, robin@example.org, @@robin, @": [],
        }.items():
            assert mentions.names_in(text, names) == meant, text

    def test_pieces_make_the_text_again(self) -> None:
        text = "@robin: <b>@robin</b> @nobody"
        pieces = list(mentions.parts(text, ["robin"]))
        assert "".join(piece for piece, _ in pieces) == text
        assert [piece for piece, name in pieces if name] == ["@robin", "@robin"]


class MentionTests(RoomCase):
    async def test_who_is_meant_is_told_once_though_the_message_comes_twice(self) -> None:
        ada = await self.joined(self.ada)
        text = "@ben @BEN @ada @stranger @nobody, <b>rain</b>!"
        frame = {"type": "post", "body": text, "key": reference()}
        with self.captureOnCommitCallbacks(execute=True):
            await ada.ask("posted", **frame)
        heard = await ada.next_of("message")
        await ada.ask("posted", **frame)
        notice = await Notice.objects.aget()
        assert (notice.user_id, notice.kind) == (self.ben.pk, "mention")
        assert notice.text == f"ada in Garden: {text}"
        assert heard["body"]["mentions"] == ["ben", "ada"]
        await self.async_client.aforce_login(self.ben)
        page = (await self.async_client.get(notice.path, follow=True)).content.decode()
        assert '<mark class="mention me">@ben</mark>' in page
        assert '<mark class="mention">@ada</mark> @stranger' in page
        assert "&lt;b&gt;rain&lt;/b&gt;" in page
        await ada.disconnect()

    async def test_a_notice_leads_to_its_message_however_old(self) -> None:
        await self.async_client.aforce_login(self.ben)
        self.enterContext(patch.object(services, "PAGE", 5))
        for _ in range(12):
            await onloop.rooms.asend("chat-garden", {"text": "x"})
        for number, where in ((7, "?before=8#message-7"), (8, "#message-8")):
            answer = await self.async_client.get(f"/rooms/garden/messages/{number}/")
            assert answer.headers["location"] == f"/rooms/garden/{where}"
            page = await self.async_client.get(f"/rooms/garden/{where}")
            self.assertContains(page, f'id="message-{number}"')

    async def test_a_message_that_is_refused_tells_nobody(self) -> None:
        ada = await self.joined(self.ada)
        body = {"text": "@ben", "files": [reference()]}
        await ada.ask("error", type="post", body=body, key=reference())
        assert not await Notice.objects.aexists()
        await ada.disconnect()


class AttachmentTests(RoomCase):
    def setUp(self) -> None:
        media = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=media, TASKS=NO_JOBS))

    async def keep(self, user: Any, name: str = "plan.txt", text: str = "A pond") -> StoredFile:
        return await storing.store(user, name, ContentFile(text.encode()))

    async def shown(self, socket: Any, *files: StoredFile, text: str = "") -> dict[str, Any]:
        """Post with files; the message as it is heard."""
        body = {"text": text, "files": [str(file.pk) for file in files]}
        with self.captureOnCommitCallbacks(execute=True):
            await socket.ask("posted", type="post", body=body, key=reference())
        return await socket.next_of("message")

    async def test_what_is_shown_in_a_room_is_there_for_its_members(self) -> None:
        ada = await self.joined(self.ada)
        file = await self.keep(self.ada)
        (told,) = (await self.shown(ada, file))["body"]["files"]
        assert (told["name"], told["size"], told["gone"]) == ("plan.txt", 6, False)
        address = f"/rooms/garden/files/{told['id']}/"
        for user, status in ((self.ben, 200), (self.stranger, 404)):
            await self.async_client.aforce_login(user)
            answer = await self.async_client.get(address)
            assert answer.status_code == status
            if status == 200:
                assert answer.getvalue() == b"A pond"
                answer.close()
            assert (await self.async_client.get(f"{address}about/")).status_code == status
            assert (await self.async_client.get(f"/files/{file.pk}/")).status_code == 404
        await self.async_client.aforce_login(self.ben)
        page = await self.async_client.get("/rooms/garden/")
        self.assertContains(page, f'href="{address}about/"')
        await Membership.objects.filter(user=self.ben).adelete()
        assert (await self.async_client.get(address)).status_code == 404
        await ada.disconnect()

    async def test_a_file_that_is_deleted_says_so_everywhere(self) -> None:
        ada = await self.joined(self.ada)
        file = await self.keep(self.ada)
        (told,) = (await self.shown(ada, file, text="Look"))["body"]["files"]
        with self.captureOnCommitCallbacks(execute=True):
            await storing.delete(self.ada, file.pk)
        event = await ada.next_of("file")
        assert (event["id"], event["gone"]) == (told["id"], True)
        again = await ada.ask("history", type="history")
        (message,) = again["messages"]
        assert message["body"]["files"][0] == told | {"gone": True}
        await self.async_client.aforce_login(self.ben)
        page = await self.async_client.get("/rooms/garden/")
        self.assertContains(page, "This file has been deleted.")
        answer = await self.async_client.get(f"/rooms/garden/files/{told['id']}/")
        self.assertContains(answer, "has been deleted since", status_code=410)
        await ada.disconnect()

    async def test_a_thumbnail_comes_after_its_message(self) -> None:
        ada = await self.joined(self.ada)
        file = await self.keep(self.ada, "pond.png")
        (told,) = (await self.shown(ada, file))["body"]["files"]
        assert told["thumbnail"] is False
        async with storing.saved(self.ada.pk, ContentFile(b"a picture")) as key:
            with self.captureOnCommitCallbacks(execute=True):
                await examining.write(file, "", key)
        event = await ada.next_of("file")
        assert (event["id"], event["thumbnail"]) == (told["id"], True)
        (later,) = (await self.shown(ada, file))["body"]["files"]
        assert later["thumbnail"] is True
        await ada.disconnect()

    async def test_only_files_of_ones_own_are_shown(self) -> None:
        ada = await self.joined(self.ada)
        file = await self.keep(self.ben)
        several = [reference() for _ in range(attachments.AT_ONCE + 1)]
        for files in ([str(file.pk)], "x", ["x"], [7], {"a": 1}, several, [reference()]):
            body = {"text": "x", "files": files}
            await ada.ask("error", type="post", body=body, key=reference())
        assert not await Attachment.objects.aexists()
        await ada.ask("error", type="post", body={"files": []}, key=reference())
        await ada.disconnect()

    async def test_the_form_uploads_and_chooses(self) -> None:
        await self.async_client.aforce_login(self.ada)
        file = await self.keep(self.ada)
        upload = SimpleUploadedFile("C:\\pond.txt", b"Deep")
        form = {"text": "", "key": reference(), "file": str(file.pk), "upload": upload}
        answer = await self.async_client.post("/rooms/garden/", form)
        assert answer.status_code == 302, answer.content
        page = await self.async_client.get("/rooms/garden/")
        self.assertContains(page, "plan.txt")
        self.assertContains(page, "pond.txt")
        assert await StoredFile.objects.filter(owner=self.ada).acount() == 2
        upload = SimpleUploadedFile("x" * 200, b"x")
        for wrong in ({"file": "x"}, {"file": reference()}, {"upload": upload}):
            answer = await self.async_client.post(
                "/rooms/garden/", {"text": "Kept", "key": reference(), **wrong}
            )
            self.assertContains(answer, ">Kept</textarea>", status_code=400)


class RaceTest(TransactionTestCase):
    def setUp(self) -> None:
        media = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=media, TASKS=NO_JOBS))

    async def test_a_file_that_goes_while_it_is_shown_is_shown_as_gone(self) -> None:
        user = await get_user_model().objects.acreate(username="ada")
        room = await Room.objects.acreate(slug="garden", name="Garden")
        file = await storing.store(user, "plan.txt", ContentFile(b"A pond"))
        may_begin = asyncio.Event()

        async def delete() -> None:
            await may_begin.wait()
            await storing.delete(user, file.pk)

        # Made here: a task that is made in the block would belong to its transaction.
        deleting = asyncio.ensure_future(delete())
        async with transaction.atomic():
            (told,) = await attachments.attach(room, user, [file.pk])
            may_begin.set()
            # It gets as far as it can. If it is late, there is nothing to see.
            await asyncio.wait({deleting}, timeout=0.2)
        await deleting
        (body,) = await attachments.describe([{"text": "", "files": [told]}])
        assert body["files"][0]["gone"] is True
