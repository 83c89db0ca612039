"""``manage.py test``: what users are told, on a page and by a bell."""

import asyncio
import datetime

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notices import services
from notices.models import MAX_TEXT, Notice
from notices.testing import TIMEOUT_S, joined, socket_to


class NoticeTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada"), create("ben")

    async def test_each_user_is_told_once_and_reads_for_itself(self) -> None:
        await services.notify(
            [self.ada, self.ben.pk, self.ada], Notice.Kind.JOB, "Done", "/jobs/"
        )
        of_ada = await Notice.objects.aget(user=self.ada)
        assert await Notice.objects.acount() == 2
        await services.mark_read(self.ada, of_ada.pk)
        unread = await Notice.objects.filter(read=None).aget()
        assert unread.user_id == self.ben.pk

    async def test_what_is_rolled_back_was_never_told(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            try:
                async with transaction.atomic():
                    await services.notify([self.ada], Notice.Kind.JOB, "Done")
                    raise LookupError
            except LookupError:
                pass
        assert not callbacks
        assert not await Notice.objects.aexists()

    async def test_a_long_text_is_cut(self) -> None:
        await services.notify([self.ada], Notice.Kind.ROOM, "word " * MAX_TEXT)
        notice = await Notice.objects.aget()
        assert len(notice.text) <= MAX_TEXT
        assert notice.text.endswith("…")


@override_settings(NOTICES_KEPT=3)
class KeptTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada"), create("ben")

    async def told(self, number: int) -> list[Notice]:
        for each in range(number):
            await services.notify([self.ada, self.ben], Notice.Kind.JOB, f"Job {each}")
        return await Notice.objects.filter(user=self.ada).order_by("pk").alist()

    async def left(self, user: object) -> list[str]:
        own = Notice.objects.filter(user=user).order_by("pk")
        return await own.values_list("text", flat=True).alist()

    async def test_of_what_was_read_the_newest_are_kept(self) -> None:
        notices = await self.told(6)
        await services.mark_read(self.ada, notices[-1].pk)
        assert await self.left(self.ada) == ["Job 3", "Job 4", "Job 5"]
        assert len(await self.left(self.ben)) == 6, "who has read nothing keeps all"

    async def test_what_is_unread_stays_however_old(self) -> None:
        notices = await self.told(6)
        await services.read_one(self.ada, notices[1].pk)
        assert await self.left(self.ada) == ["Job 0", "Job 2", "Job 3", "Job 4", "Job 5"]
        await services.read_one(self.ada, notices[4].pk)
        assert len(await self.left(self.ada)) == 5, "that is one of the newest"

    async def test_where_nothing_is_old_nothing_is_deleted(self) -> None:
        notices = await self.told(3)
        with CaptureQueriesContext(connection) as queries:
            await services.mark_read(self.ada, notices[-1].pk)
        assert not [query for query in queries if query["sql"].startswith("DELETE")]
        assert len(await self.left(self.ada)) == 3


@override_settings(NOTICES_KEPT=3)
class AtOnceTests(TransactionTestCase):
    async def test_who_reads_in_several_windows_at_once_waits_for_none(self) -> None:
        ada = await get_user_model().objects.acreate_user("ada")
        for each in range(40):
            await services.notify([ada], Notice.Kind.JOB, f"Job {each}")
        keys = await Notice.objects.order_by("pk").values_list("pk", flat=True).alist()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(services.mark_read(ada, pk) for pk in keys[9:39:5]))
            await services.read_one(ada, keys[38])
        assert await services.unread_of(ada).acount() == 4
        assert not await Notice.objects.filter(pk__in=keys[:35]).aexists()
        assert await Notice.objects.filter(pk__in=keys[35:]).acount() == 5


class PageTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada"), create("ben")

    async def notice(self, text: str = "Done", path: str = "/jobs/") -> Notice:
        await services.notify([self.ada], Notice.Kind.JOB, text, path)
        return await Notice.objects.order_by("pk").alast()

    async def test_each_page_counts_what_is_unread_once_and_for_its_user_only(self) -> None:
        for _ in range(100):
            await self.notice()
        await self.async_client.aforce_login(self.ada)
        with CaptureQueriesContext(connection) as queries:
            self.assertContains(await self.async_client.get("/notices/"), ">99+<")
        counts = [query for query in queries if '"read" IS NULL' in query["sql"]]
        assert len(counts) == 1, "the bell and the page show the same"
        await self.async_client.aforce_login(self.ben)
        self.assertContains(await self.async_client.get("/catalogue/"), 'count" hidden')

    async def test_nothing_is_asked_for_those_who_are_not_logged_in(self) -> None:
        with self.assertNumQueries(0):
            page = await self.async_client.get("/accounts/login/")
        self.assertNotContains(page, "data-bell")

    async def test_pages_are_newest_first(self) -> None:
        for number in range(30):
            await self.notice(f"<i>Job {number}</i>")
        await self.async_client.aforce_login(self.ada)
        page = (await self.async_client.get("/notices/")).content.decode()
        assert page.index("&lt;i&gt;Job 29&lt;") < page.index("Job 5&lt;")
        assert "Job 4&lt;" not in page
        self.assertContains(await self.async_client.get("/notices/?page=2"), "Job 0&lt;")
        for number, status in (("3", 404), ("x", 400)):
            answer = await self.async_client.get(f"/notices/?page={number}")
            assert answer.status_code == status
        await self.async_client.aforce_login(self.ben)
        self.assertContains(await self.async_client.get("/notices/"), "Nothing yet.")

    async def test_what_has_just_come_is_not_told_to_be_0_minutes_old(self) -> None:
        notice = await self.notice()
        later = timezone.now() + datetime.timedelta(hours=1)  # however long the page takes
        await Notice.objects.filter(pk=notice.pk).aupdate(created=later)
        await self.async_client.aforce_login(self.ada)
        page = await self.async_client.get("/notices/")
        self.assertContains(page, ">just now</time>")
        self.assertNotContains(page, "ago</time>")

    async def test_what_came_after_the_page_is_not_marked_read_with_it(self) -> None:
        seen, later = await self.notice(), await self.notice("Later")
        await self.async_client.aforce_login(self.ada)
        answer = await self.async_client.post("/notices/read/", {"up_to": seen.pk})
        self.assertRedirects(answer, "/notices/", fetch_redirect_response=False)
        assert await services.unread_of(self.ada).aget() == later
        for up_to in ("", "x", "-1", "9" * 30):
            answer = await self.async_client.post("/notices/read/", {"up_to": up_to})
            assert answer.status_code == 404
        opened = await self.async_client.get("/notices/read/")
        self.assertRedirects(opened, "/notices/", fetch_redirect_response=False)

    async def test_whoever_follows_a_notice_has_read_it(self) -> None:
        await self.async_client.aforce_login(self.ada)
        for path, leads_to in (("/jobs/", "/jobs/"), ("", "/notices/"), ("//x/", "/notices/")):
            notice = await self.notice(path=path)
            answer = await self.async_client.get(f"/notices/{notice.pk}/")
            self.assertRedirects(answer, leads_to, fetch_redirect_response=False)
        assert not await services.unread_of(self.ada).aexists()
        await self.async_client.aforce_login(self.ben)
        assert (await self.async_client.get(f"/notices/{notice.pk}/")).status_code == 404

    async def test_the_pages_are_for_those_who_are_logged_in(self) -> None:
        for path in ("/notices/", "/notices/1/"):
            answer = await self.async_client.get(path)
            assert answer["Location"] == f"/accounts/login/?next={path}"


class BellTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada"), create("ben")

    async def test_the_bell_rings_for_its_user_and_falls_silent(self) -> None:
        await services.notify([self.ada], Notice.Kind.JOB, "Before")
        ada = await joined(self.async_client, self.ada)
        ben = await joined(self.async_client, self.ben)
        assert (await ada.next_of("notices"))["unread"] == 1
        assert (await ben.next_of("notices"))["unread"] == 0
        with self.captureOnCommitCallbacks(execute=True):
            await services.notify([self.ada], Notice.Kind.JOB, "Live")
        assert (await ada.next_of("notices"))["unread"] == 2
        notice = await Notice.objects.order_by("pk").alast()
        await services.read_one(self.ada, notice.pk)
        assert (await ada.next_of("notices"))["unread"] == 1
        await services.read_one(self.ada, notice.pk)  # which rings no more
        await services.mark_read(self.ada, notice.pk)
        assert (await ada.next_of("notices"))["unread"] == 0
        with self.captureOnCommitCallbacks(execute=True):
            await services.notify([self.ada, self.ben], Notice.Kind.JOB, "Both")
        assert (await ben.next_of("notices"))["unread"] == 1, "and heard of none before"
        for socket in (ada, ben):
            await socket.disconnect()

    async def test_nothing_is_posted_and_nobody_else_listens(self) -> None:
        ada = await joined(self.async_client, self.ada)
        await ada.ask("error", type="post", body="x")
        await ada.disconnect()
        accepted, _ = await (await socket_to(self.async_client_class())).connect(TIMEOUT_S)
        assert not accepted
