"""``manage.py test``: the start page, and what each page counts."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Profile, Role
from basket.models import BasketLine
from catalogue.models import Category, Order, OrderLine, Product
from files.models import StoredFile
from jobs.models import Work
from notices.models import Notice
from notices.testing import joined
from onloop.rooms.models import Room as Log
from onloop.tasks.models import Job
from rooms.models import Membership, Room
from rooms.naming import log_of
from rooms.services import mark_read
from workspace import home

EMPTY = (
    "You are in no room yet.",
    "Nothing yet. Mentions",
    "Nothing runs for you now.",
    "Your basket is empty.",
    "You have not ordered anything yet.",
    "You keep no files yet.",
)
BADGE = 'data-unread-messages><span class="number">{}</span>'


class Home(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada", first_name="Ada", is_staff=True), create("ben")
        cls.guest = create("guest")
        Profile.objects.create(user=cls.guest, role=Role.GUEST)

    def room(self, name: str, last: int, **fields: Any) -> Membership:
        room = Room.objects.create(slug=name.lower(), name=name, **fields)
        Log.objects.create(name=log_of(room.slug), last=last)
        return Membership.objects.create(room=room, user=self.ada)

    async def page(self, user: Any = None) -> str:
        if user is not None:
            await self.async_client.aforce_login(user)
        answer = await self.async_client.get("/")
        assert answer.status_code == 200
        return str(answer.content.decode())


class StartTests(Home):
    async def test_visitors_see_what_it_is_and_how_to_come_in(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            page = await self.page()
        assert len(queries) == 4, "what is counted for everybody, and nothing for one user"
        assert 'href="/accounts/login/"' in page
        assert 'class="button" href="/accounts/sign-up/"' in page
        assert "data-unread-messages" not in page
        with override_settings(SIGN_UP=False):
            assert "/accounts/sign-up/" not in await self.page()

    async def test_who_is_new_sees_what_could_be_there(self) -> None:
        page = await self.page(self.ada)
        assert "Hello, Ada" in page
        assert [text for text in EMPTY if text not in page] == []
        assert "Sign up" not in page

    async def test_guests_see_nothing_of_files_and_jobs(self) -> None:
        StoredFile.objects.create(owner=self.guest, name="old.txt", content="x", size=1)
        page = await self.page(self.guest)
        assert "You are here as a guest" in page
        assert "home-files" not in page
        assert "home-jobs" not in page
        assert "old.txt" not in page
        shown = await home.shown_to(self.guest)
        assert shown.keys() == {"memberships", "notices", "basket", "orders"}

    async def test_each_app_shows_what_is_ones_own(self) -> None:
        category = Category.objects.create(name="Lamps", slug="lamps")
        lamp = Product.objects.create(
            category=category, sku="L-1", name="Lamp", price=3, stock=1
        )
        for user in (self.ada, self.ben):
            name = user.get_username()
            BasketLine.objects.create(user=user, product=lamp, quantity=2)
            order = Order.objects.create(user=user, customer_name="N", total=7)
            OrderLine.objects.create(order=order, product=lamp, quantity=5, unit_price=1)
            StoredFile.objects.create(owner=user, name=f"{name}.txt", content="x", size=1)
            Notice.objects.create(user=user, kind=Notice.Kind.JOB, text=f"For {name}")
            for state in ("running", "ended"):
                now = timezone.now()
                job = Job.objects.create(
                    id=f"{name}-{state}",
                    name="n",
                    status="RUNNING",
                    created=now,
                    finished=None if state == "running" else now,
                )
                Work.objects.create(kind=Work.Kind.EXPORT, owner=user, job=job.pk)
        self.room("Quiet", 0)
        self.room("Loud", 3)
        page = await self.page(self.ada)
        assert [text for text in EMPTY if text in page] == []
        assert "only 1 left" in page
        assert page.count("Lamp") == 2, "in the basket and in an order"
        assert "ada.txt" in page
        assert "For ada" in page
        assert 'data-events="/jobs/states/ada-running/events/"' in page
        assert "ben" not in page
        assert "ada-ended" not in page
        assert page.index('data-slug="loud"') < page.index('data-slug="quiet"')

    async def test_it_is_read_and_nobody_keeps_it(self) -> None:
        await self.async_client.aforce_login(self.ada)
        answer = await self.async_client.get("/")
        assert answer["Cache-Control"] == "no-store"
        assert "default-src 'self'" in answer["Content-Security-Policy"]
        assert (await self.async_client.post("/")).status_code == 405


class UnreadTests(Home):
    async def test_the_bar_counts_messages_of_rooms_that_are_not_archived(self) -> None:
        self.room("One", 5)
        self.room("Two", 2)
        self.room("Read", 0)
        self.room("Past", 9, archived=timezone.now())
        await Membership.objects.filter(room__slug="one").aupdate(read=4)
        await self.async_client.aforce_login(self.ada)
        self.assertContains(await self.async_client.get("/accounts/profile/"), BADGE.format(3))
        await self.async_client.aforce_login(self.ben)
        page = await self.async_client.get("/accounts/profile/")
        self.assertContains(page, "data-unread-messages hidden")

    async def test_both_counts_are_one_query_of_a_page(self) -> None:
        self.room("One", 5)
        Notice.objects.create(user=self.ada, kind=Notice.Kind.JOB, text="Done")
        await self.async_client.aforce_login(self.ada)
        with CaptureQueriesContext(connection) as queries:
            page = await self.async_client.get("/nowhere/")
        self.assertContains(page, BADGE.format(5), status_code=404)
        self.assertContains(page, 'data-unread="1"', status_code=404)
        assert len(queries) == 3, "the session, its user, and the counts"

    async def test_the_socket_tells_of_the_rooms_that_count(self) -> None:
        one = self.room("One", 5)
        self.room("Past", 9, archived=timezone.now())
        ada = await joined(self.async_client, self.ada)
        told = (await ada.next_of("rooms"))["rooms"]
        assert told == [{"slug": "one", "last": 5, "read": 0}]
        with self.captureOnCommitCallbacks(execute=True):
            await mark_read(one, 4)
        told = await ada.next_of("unread")
        assert (told["slug"], told["read"]) == ("one", 4)
        await ada.disconnect()
