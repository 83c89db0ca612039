"""``manage.py test``: who may begin work, and how much of it at once."""

import asyncio
import datetime
import tempfile
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from accounts.models import Profile, Role
from files.models import StoredFile
from jobs import exporting, services
from jobs.attempts import Attempt
from jobs.models import Work
from jobs.tasks import _run
from onloop.tasks.models import Job
from operations.station import _count_jobs
from workspace.background import PACKAGE

NOTED = {"default": {"BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend"}}


class RoleTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.guest = get_user_model().objects.create_user("guest", is_staff=True)
        Profile.objects.create(user=cls.guest, role=Role.GUEST)

    def setUp(self) -> None:
        media = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=media, TASKS=NOTED))

    async def test_guests_are_refused_at_the_start(self) -> None:
        await self.async_client.aforce_login(self.guest)
        for kind in Work.Kind.values:
            table = SimpleUploadedFile("table.csv", b"sku")
            answer = await self.async_client.post("/jobs/", {"kind": kind, "file": table})
            self.assertContains(answer, "“Member”", status_code=403)
            guest: Any = await get_user_model().objects.aget(pk=self.guest.pk)
            with self.assertRaises(PermissionDenied):
                await services.begin(guest, kind)
        assert not await Work.objects.aexists()
        assert not await StoredFile.objects.aexists()

    async def test_what_a_guest_had_begun_as_a_member_is_not_begun_anew(self) -> None:
        work = await Work.objects.acreate(owner=self.guest, kind=Work.Kind.REPORT)
        await self.async_client.aforce_login(self.guest)
        answer = await self.async_client.post(f"/jobs/{work.pk}/retry/", {"attempt": "1"})
        assert answer.status_code == 403
        await work.arefresh_from_db()
        assert work.attempt == 1

    async def test_who_became_a_guest_meanwhile_is_told_why_there_is_no_file(self) -> None:
        work = await Work.objects.acreate(owner=self.guest, kind=Work.Kind.EXPORT)
        await _run(exporting.run, Attempt(work.pk, 1))
        await work.arefresh_from_db()
        assert "“Member”" in work.problem


class LimitTests(TransactionTestCase):
    def setUp(self) -> None:
        # No job is enqueued, so none ends.
        self.enterContext(override_settings(TASKS={}))
        self.enterContext(self.assertLogs("jobs.services"))
        self.owner = get_user_model().objects.create_user("owner")

    async def test_however_many_are_begun_at_once_there_are_only_so_many(self) -> None:
        kinds = [Work.Kind.REPORT] * (services.MAX_GOING + 5)
        begun = await asyncio.gather(
            *(services.begin(self.owner, kind) for kind in kinds), return_exceptions=True
        )
        assert sum(type(each) is Work for each in begun) == services.MAX_GOING
        assert sum(type(each) is services.NotNow for each in begun) == 5

    async def test_what_is_lost_stands_in_nobodys_way(self) -> None:
        long_ago = timezone.now() - datetime.timedelta(minutes=5)
        for number in range(services.MAX_GOING):
            job = await Job.objects.acreate(
                id=f"lost-{number}",
                name="report",
                status="RUNNING",
                created=long_ago,
                updated=long_ago,
                worker="killed",
            )
            await Work.objects.acreate(owner=self.owner, kind="report", job=job.pk)
        assert await _count_jobs() == {"READY": 0, "RUNNING": 0}
        await services.begin(self.owner, Work.Kind.REPORT)
