"""Work and its attempts: what is begun, what is given up, and what tables say."""

import asyncio
import datetime
import tempfile
from decimal import Decimal
from unittest.mock import patch

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import SimpleTestCase, TransactionTestCase, override_settings
from django.utils import timezone

from accounts.models import Profile, Role
from catalogue.models import Category, Product
from catalogue.table import BadTable, read_rows, write_rows
from files import storing
from files.models import StoredFile
from jobs import importing, services, tasks
from jobs.attempts import Attempt, Superseded
from jobs.models import Work
from jobs.states import shown
from notices.models import Notice
from onloop.tasks.models import Job
from workspace.background import PACKAGE, task_backends

TABLE = b"sku,name,category,price\nA-1,Lamp,lamps,5\nA-2,Lamp,lamps,6\n"


class TableTest(SimpleTestCase):
    def test_what_is_written_is_read_again(self) -> None:
        lamps = Category(name="Lamps", slug="lamps")
        for text in (
            "plain",
            "=1+1",
            "'=1+1",
            "''-",
            "'quoted'",
            'a "b", c',
            "two\nlines",
            "+",
        ):
            product = Product(
                sku="A-1", name=text, category=lamps, price=Decimal("9.50"), description=text
            )
            (row,) = read_rows(write_rows([product], names=True))
            assert (row.number, row.error) == (2, "")
            assert (row.item.name, row.item.description) == (text, text)
            assert (row.item.price, row.item.stock) == (Decimal("9.50"), 0)
            # No cell begins as a formula does.
            assert not any(cell in write_rows([product]) for cell in (",=", ",+", ',"=', ",-"))

    def test_numbers_are_written_plainly(self) -> None:
        for price in (
            "1e3",
            "NaN",
            "-1",
            "0",
            "1.234",
            "\N{ARABIC-INDIC DIGIT ONE}",
            "",
            "1,5",
            "999999999",
        ):
            (row,) = read_rows(f'sku,name,category,price\nA-1,x,lamps,"{price}"\n')
            assert row.error.startswith("price: "), price

    def test_text_that_no_database_stores_is_an_error_of_its_row(self) -> None:
        rows = list(read_rows("sku,name,category,price\nA-1,a\0b,lamps,1\nA-2,x,lamps,1\n"))
        assert rows[0].error == "name: Holds a character that cannot be stored."
        assert rows[1].error == ""

    def test_a_cell_without_end_is_not_read(self) -> None:
        table = "sku,name,category,price\nA-1," + "x" * 200_000 + ",lamps,1\n"
        with self.assertRaisesMessage(BadTable, "Row 2 cannot be read: "):
            list(read_rows(table))


class WorkTest(TransactionTestCase):
    def setUp(self) -> None:
        media = self.enterContext(tempfile.TemporaryDirectory())
        # Jobs are noted, and run where a test says so.
        dummy = {"BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend"}
        self.enterContext(override_settings(MEDIA_ROOT=media, TASKS={"default": dummy}))
        self.user = get_user_model().objects.create(username="ann")
        Category.objects.create(name="Lamps", slug="lamps")

    async def begun(self) -> Work:
        file = await storing.store(self.user, "products.csv", ContentFile(TABLE))
        work = await services.begin(self.user, Work.Kind.IMPORT, file)
        await work.arefresh_from_db()
        return work

    async def job_of(self, work: Work, status: str, **values: object) -> Job:
        """The state that a backend would have stored."""
        now = timezone.now()
        return await Job.objects.acreate(
            pk=work.job, name="job", status=status, created=now, owner=self.user, **values
        )

    async def test_guests_start_no_jobs(self) -> None:
        await Profile.objects.acreate(user=self.user, role=Role.GUEST)
        await self.async_client.aforce_login(self.user)
        page = await self.async_client.get("/jobs/")
        self.assertContains(page, "Guests start no jobs")
        for form in ({"kind": "report"}, {"kind": "import", "source": "x"}):
            refused = await self.async_client.post("/jobs/", form)
            self.assertContains(refused, "This takes the role “Member”.", status_code=403)
        refused = await self.async_client.post("/jobs/1/retry/", {"attempt": "1"})
        assert refused.status_code == 403
        with self.assertRaises(PermissionDenied):
            await services.begin(self.user, Work.Kind.REPORT)
        assert not await Work.objects.aexists()

    async def test_work_that_is_rolled_back_has_no_job(self) -> None:
        class Undone(Exception):
            pass

        try:
            async with transaction.atomic():
                await services.begin(self.user, Work.Kind.REPORT)
                raise Undone
        except Undone:
            pass
        assert task_backends["default"].results == []
        assert not await Work.objects.aexists()

    async def test_an_attempt_that_was_given_up_writes_nothing(self) -> None:
        work = await self.begun()
        await self.job_of(work, "FAILED", finished=timezone.now())
        await services.retry(work, 1)
        await tasks.import_products.func(work.pk, 1)
        assert not await Product.objects.aexists()
        await tasks.import_products.func(work.pk, 2)
        assert await Product.objects.acount() == 2
        await work.arefresh_from_db()
        assert work.result["created"] == 2
        try:
            async with Attempt(work.pk, 1).writing():
                raise AssertionError("it may write")
        except Superseded:
            pass

    async def test_the_owner_is_told_of_the_end_of_each_attempt_once(self) -> None:
        work = await self.begun()
        for _ in range(2):  # the second time as after a kill
            await tasks.import_products.func(work.pk, 1)
        notice = await Notice.objects.aget(user=self.user)
        assert notice.text == "Import of products is done."
        assert notice.path == f"/jobs/{work.pk}/"

        await Work.objects.filter(pk=work.pk).aupdate(attempt=2)
        with patch.object(importing, "run", side_effect=LookupError):
            try:
                await tasks.import_products.func(work.pk, 2)
            except LookupError:
                pass
        await Work.objects.filter(pk=work.pk).aupdate(attempt=3, source=None)
        await tasks.import_products.func(work.pk, 3)
        told = [notice.text async for notice in Notice.objects.order_by("pk")]
        assert told[1:] == ["Import of products failed.", "Import of products was refused."]

    async def test_of_two_who_try_again_at_once_one_does(self) -> None:
        work = await self.begun()
        await self.job_of(work, "CANCELLED", finished=timezone.now())
        copies = [await Work.objects.aget(pk=work.pk) for _ in range(2)]
        results = await asyncio.gather(
            *(services.retry(copy, 1) for copy in copies), return_exceptions=True
        )
        assert {type(result) for result in results} == {type(None), services.NotNow}
        await work.arefresh_from_db()
        assert work.attempt == 2

    async def test_a_job_of_which_nothing_is_heard_may_be_begun_anew(self) -> None:
        work = await self.begun()
        long_ago = timezone.now() - datetime.timedelta(minutes=2)
        job = await self.job_of(work, "RUNNING", worker="gone", updated=long_ago)
        (lost,) = await shown([work])
        assert (lost.label, lost.may_retry) == ("lost", True)
        await services.retry(work, 1)
        await job.arefresh_from_db()
        assert job.stop  # in case it goes on all the same

    async def test_what_a_job_wrote_before_its_end_is_shown_though_the_work_was_read_before(
        self,
    ) -> None:
        work = await self.begun()
        tally = {"rows": 1, "created": 1, "updated": 0, "unchanged": 0, "invalid": 0}
        await Work.objects.filter(pk=work.pk).aupdate(result=tally)
        read = await Work.objects.aget(pk=work.pk)
        async with transaction.atomic():
            await Attempt(work.pk, 1).end("was refused", problem="Row 3 cannot be read.")
        await self.job_of(work, "SUCCESSFUL", finished=timezone.now())
        (one,) = await shown([read])
        assert (one.label, one.work.problem) == ("refused", "Row 3 cannot be read.")

    async def test_of_old_work_whose_state_was_deleted_nothing_is_promised(self) -> None:
        work = await self.begun()
        (old,) = await shown([work])
        assert (old.label, old.may_retry, old.may_cancel) == ("ended", False, False)
        await Work.objects.filter(pk=work.pk).aupdate(job="")
        (unknown,) = await shown([await Work.objects.aget(pk=work.pk)])
        assert (unknown.label, unknown.may_retry) == ("not begun", True)

    async def test_work_that_goes_on_is_not_begun_anew(self) -> None:
        work = await self.begun()
        await self.job_of(work, "RUNNING")
        try:
            await services.retry(work, 1)
        except services.NotNow:
            return
        raise AssertionError("it was begun anew")

    async def test_nobody_begins_without_end(self) -> None:
        for _ in range(services.MAX_GOING):
            await self.job_of(await self.begun(), "RUNNING")
        try:
            await self.begun()
        except services.NotNow:
            return
        raise AssertionError("one more was begun")

    async def test_an_export_without_room_says_so_and_leaves_nothing(self) -> None:
        work = await services.begin(self.user, Work.Kind.EXPORT)
        limit, storing.MAX_FILES = storing.MAX_FILES, 0
        try:
            await tasks.export_products.func(work.pk, 1)
        finally:
            storing.MAX_FILES = limit
        await work.arefresh_from_db()
        assert work.problem.startswith("You have 0 files")
        assert not await StoredFile.objects.aexists()
