"""``manage.py test``: links to files, previews, and what guests and owners may."""

import datetime
import tempfile
import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.models import Profile, Role
from files import examining, storing
from files.models import ShareLink, StoredFile
from notices.models import Notice
from workspace.background import PACKAGE


class SharingTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        users = get_user_model().objects
        cls.ann = users.create_user("ann")
        for role in Role:
            Profile.objects.create(user=users.create_user(role.value), role=role)
        cls.of = {role: users.get(username=role.value) for role in Role}

    def setUp(self) -> None:
        # Jobs are noted, and not run.
        jobs = {"default": {"BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend"}}
        media = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=media, TASKS=jobs))

    async def keep(self, name: str = "notes.txt", content: bytes = b"content") -> StoredFile:
        return await storing.store(self.ann, name, ContentFile(content))

    async def post(self, user: Any, path: str, **form: Any) -> Any:
        await self.async_client.aforce_login(user)
        return await self.async_client.post(f"/files/{path}", form)

    async def link_to(self, file: StoredFile, hours: str = "24") -> str:
        answer = await self.post(self.ann, f"{file.pk}/share/", expires=hours)
        assert answer.status_code == 302
        await self.async_client.alogout()
        return f"/files/shared/{(await file.links.afirst()).pk}/"

    async def bytes_of(self, address: str, **headers: str) -> bytes:
        answer = await self.async_client.get(address, headers=headers)
        assert answer.status_code in (200, 206), answer.status_code
        try:
            return bytes(answer.getvalue())
        finally:
            answer.close()

    async def test_whoever_has_the_link_sees_the_file_until_it_is_revoked(self) -> None:
        file = await self.keep(content=b"<b>one</b>")
        address = await self.link_to(file)
        page = await self.async_client.get(address)
        self.assertContains(page, "&lt;b&gt;one&lt;/b&gt;")
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert await self.bytes_of(f"{address}download/") == b"<b>one</b>"
        assert (await self.async_client.get(f"/files/{file.pk}/")).status_code == 302
        link = await ShareLink.objects.aget()
        path = f"{file.pk}/links/{link.pk}/revoke/"
        assert (await self.post(self.of[Role.MEMBER], path)).status_code == 404
        assert (await self.post(self.ann, path)).status_code == 302
        await self.async_client.alogout()
        for each in ("", "download/", "preview/"):
            answer = await self.async_client.get(address + each)
            self.assertContains(answer, "This link was revoked", status_code=410)

    async def test_links_of_an_account_that_was_closed_lead_nowhere(self) -> None:
        address = await self.link_to(await self.keep())
        await get_user_model().objects.filter(pk=self.ann.pk).aupdate(is_active=False)
        for each in ("", "download/", "preview/"):
            assert (await self.async_client.get(address + each)).status_code == 404

    async def test_links_expire(self) -> None:
        address = await self.link_to(await self.keep(), "1")
        link = await ShareLink.objects.aget()
        left = link.expires - timezone.now()
        assert datetime.timedelta(minutes=50) < left <= datetime.timedelta(hours=1)
        await ShareLink.objects.aupdate(expires=timezone.now())
        answer = await self.async_client.get(f"{address}download/")
        self.assertContains(answer, "This link has expired", status_code=410)

    async def test_links_that_are_not_known_or_whose_file_is_deleted_lead_nowhere(self) -> None:
        file = await self.keep()
        address = await self.link_to(file)
        await storing.delete(self.ann, file.pk)
        for each in (address, f"/files/shared/{uuid.uuid4()}/"):
            answer = await self.async_client.get(each)
            self.assertContains(answer, "This link leads nowhere", status_code=404)

    async def test_a_download_is_counted_once(self) -> None:
        address = await self.link_to(await self.keep()) + "download/"
        whole = await self.async_client.get(address)
        etag = whole.headers["etag"]
        whole.close()
        assert await self.bytes_of(address, Range="bytes=0-2") == b"con"
        # The rest of it, whether it is there, and the same once more.
        assert await self.bytes_of(address, Range="bytes=3-") == b"tent"
        (await self.async_client.head(address)).close()
        same = await self.async_client.get(address, headers={"If-None-Match": etag})
        assert same.status_code == 304
        same.close()
        assert (await ShareLink.objects.aget()).downloads == 2

    async def test_only_owners_of_a_file_share_it_and_only_for_times_that_are_offered(
        self,
    ) -> None:
        file = await self.keep()
        path = f"{file.pk}/share/"
        for user in (self.of[Role.MEMBER], self.of[Role.OWNER]):
            assert (await self.post(user, path, expires="1")).status_code == 404
        for hours in ("", "2", "-1", "1e9"):
            assert (await self.post(self.ann, path, expires=hours)).status_code == 400
        await Profile.objects.acreate(user=self.ann, role=Role.GUEST)
        assert (await self.post(self.ann, path, expires="1")).status_code == 403
        assert not await ShareLink.objects.aexists()

    async def test_guests_keep_no_files(self) -> None:
        guest = self.of[Role.GUEST]
        upload = SimpleUploadedFile("notes.txt", b"x")
        answer = await self.post(guest, "", file=upload)
        self.assertContains(answer, "Guests keep no files", status_code=403)
        answer = await self.async_client.post(
            "/files/raw/?name=x", b"x", content_type="application/octet-stream"
        )
        assert answer.status_code == 403
        assert "Member" in answer.json()["error"]["message"]
        assert not await StoredFile.objects.aexists()

    async def test_owners_take_away_files_of_others_and_these_are_told(self) -> None:
        file = await self.keep()
        for role in (Role.GUEST, Role.MEMBER):
            assert (await self.post(self.of[role], f"{file.pk}/delete/")).status_code == 404
            assert (await self.async_client.get("/files/all/")).status_code == 403
        await self.async_client.aforce_login(self.of[Role.OWNER])
        self.assertContains(await self.async_client.get("/files/all/"), "notes.txt")
        assert (await self.async_client.get(f"/files/{file.pk}/")).status_code == 404
        answer = await self.async_client.post(f"/files/{file.pk}/delete/")
        assert answer.headers["location"] == "/files/all/"
        assert not await StoredFile.objects.aexists()
        notice = await Notice.objects.aget()
        assert (notice.user_id, notice.kind) == (self.ann.pk, "file")

    async def test_the_page_of_a_file_shows_what_can_be_shown(self) -> None:
        await self.async_client.aforce_login(self.ann)
        long = b"\xff" + "ä".encode() * 20_000
        for name, content, shown in (
            ("a.txt", b"one & two", "one &amp; two"),
            ("b.csv", long, "Download it to see the rest."),
            ("c.txt", b"", "(empty)"),
            ("d.zip", b"PK", "has not been looked into yet"),
        ):
            file = await self.keep(name, content)
            page = await self.async_client.get(f"/files/{file.pk}/about/")
            self.assertContains(page, shown)
        assert (await self.async_client.get(f"/files/{file.pk}/preview/")).status_code == 404
        async with storing.saved(self.ann.pk, ContentFile(b"RIFF")) as key:
            await examining.write(file, "", "", key)
        page = await self.async_client.get(f"/files/{file.pk}/about/")
        self.assertContains(page, f'src="/files/{file.pk}/preview/"')
        picture = await self.async_client.get(f"/files/{file.pk}/preview/")
        assert picture.headers["content-type"] == "image/webp"
        assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
        picture.close()
