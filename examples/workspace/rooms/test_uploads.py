"""``manage.py test``: files that come with the form of a room, once, twice or in vain."""

import asyncio
import tempfile
import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, TransactionTestCase, override_settings

from files.models import StoredFile
from onloop.rooms.models import Message
from rooms.models import Attachment, Membership, Room
from rooms.test_talk import NO_JOBS


class UploadTests(TransactionTestCase):
    def setUp(self) -> None:
        media = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=media, TASKS=NO_JOBS))
        self.ada = get_user_model().objects.create_user("ada")
        self.room = Room.objects.create(slug="garden", name="Garden")
        Membership.objects.create(room=self.room, user=self.ada)

    async def post(self, key: str, **form: Any) -> int:
        client = AsyncClient()
        await client.aforce_login(self.ada)
        upload = SimpleUploadedFile("pond.txt", b"Deep")
        form = {"text": "Look", "key": key, "upload": upload} | form
        return int((await client.post("/rooms/garden/", form)).status_code)

    async def kept(self) -> tuple[int, int, int]:
        """Messages, files, and files in the storage."""
        _, names = await asyncio.to_thread(self.stored)
        messages = await Message.objects.acount()
        return messages, await StoredFile.objects.acount(), len(names)

    def stored(self) -> tuple[list[str], list[str]]:
        folder = f"files/{self.ada.pk}"
        return default_storage.listdir(folder) if default_storage.exists(folder) else ([], [])

    async def test_a_form_that_is_sent_twice_keeps_one_copy(self) -> None:
        key = str(uuid.uuid4())
        for _ in range(2):
            assert await self.post(key) == 302
        assert await self.kept() == (1, 1, 1)
        assert await Attachment.objects.acount() == 1

    async def test_also_if_both_copies_come_at_once(self) -> None:
        key = str(uuid.uuid4())
        assert await asyncio.gather(*(self.post(key) for _ in range(5))) == [302] * 5
        assert await self.kept() == (1, 1, 1)
        assert await Attachment.objects.filter(file=None).acount() == 0

    async def test_a_message_that_is_refused_keeps_no_file(self) -> None:
        for wrong in ({"key": ""}, {"key": "a\x00b"}, {"file": str(uuid.uuid4())}):
            assert await self.post(**{"key": str(uuid.uuid4())} | wrong) == 400, wrong
            assert await self.kept() == (0, 0, 0)
