"""``manage.py test``: what users are told, on a page and by a bell."""

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

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

    async def test_what_came_after_the_page_is_not_marked_read_with_it(self) -> None:
        seen, later = await self.notice(), await self.notice("Later")
        await self.async_client.aforce_login(self.ada)
        answer = await self.async_client.post("/notices/read/", {"up_to": seen.pk})
        self.assertRedirects(answer, "/notices/", fetch_redirect_response=False)
        assert await services.unread_of(self.ada).aget() == later
        for up_to in ("", "x", "-1", "9" * 30):
            answer = await self.async_client.post("/notices/read/", {"up_to": up_to})
            assert answer.status_code == 404
        assert (await self.async_client.get("/notices/read/")).status_code == 405

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
