"""``manage.py test``: a list takes as many queries for many rows as for few."""

import datetime
import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from accounts.models import Profile, Role
from basket.models import BasketLine
from catalogue.models import Category, Order, OrderLine, Product
from files.models import ShareLink, StoredFile
from jobs.models import Work
from notices.models import Notice
from onloop import bridge
from onloop.rooms.models import Message
from onloop.rooms.models import Room as Log
from onloop.tasks.models import Job
from onloop.tokens.models import Token
from people.models import Person, Team
from rooms.models import Attachment, Membership, Room
from rooms.naming import log_of

MOMENT = datetime.datetime(2025, 3, 31, 12, tzinfo=datetime.UTC)


class QueriesTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.owner = get_user_model().objects.create_superuser("owner")
        Profile.objects.create(user=cls.owner, role=Role.OWNER)
        cls.made = 0
        cls.room = Room.objects.create(slug="first", name="First", creator=cls.owner)
        cls.log = Log.objects.create(name=log_of("first"))
        Membership.objects.create(room=cls.room, user=cls.owner)

    def make(self, number: int) -> None:
        """More of everything, each with relations of its own."""
        for _ in range(number):
            self.made += 1
            self.make_one(self.made)

    def make_one(self, no: int) -> None:
        user = get_user_model().objects.create_user(f"user{no}")
        if no % 2:
            Profile.objects.create(user=user, role=Role.GUEST)
        self.make_things_for_sale(no, user)
        self.make_files_and_jobs(no, user)
        self.make_talk(no, user)
        team = Team.objects.create(name=f"Team {no}")
        email = f"{no}@example.org"
        Person.objects.create(name=f"P {no}", email=email, team=team, joined=MOMENT.date())
        Notice.objects.create(user=self.owner, kind=Notice.Kind.JOB, text=f"Done {no}")
        Token.issue(self.owner, name=f"Token {no}")

    def make_things_for_sale(self, no: int, user: Any) -> None:
        category = Category.objects.create(name=f"C {no}", slug=f"c-{no}")
        product = Product.objects.create(
            category=category, sku=f"S-{no}", name=f"N {no}", price=1, stock=9
        )
        BasketLine.objects.create(user=self.owner, product=product, quantity=1)
        for buyer in (user, self.owner):
            order = Order.objects.create(
                user=buyer, customer_name="N", customer_email="n@example.org", total=1
            )
            OrderLine.objects.create(order=order, product=product, quantity=1, unit_price=1)

    def make_files_and_jobs(self, no: int, user: Any) -> None:
        for owner in (user, self.owner):
            self.file = StoredFile.objects.create(
                owner=owner, name=f"{no}.csv", content="x", size=1, media_type="text/csv"
            )
        ShareLink.objects.create(file=self.file, expires=MOMENT)
        job = Job.objects.create(
            id=f"job-{no}", name="n", status="SUCCESSFUL", created=MOMENT, finished=MOMENT
        )
        Work.objects.create(
            kind=Work.Kind.EXPORT,
            owner=self.owner,
            job=job.pk,
            source=self.file,
            outcome=self.file,
            result={"rows": 1},
        )

    def make_talk(self, no: int, user: Any) -> None:
        Membership.objects.create(room=self.room, user=user)
        rooms = [
            Room.objects.create(
                slug=f"{kind}-{no}", name=f"{kind} {no}", is_open=kind == "open"
            )
            for kind in ("open", "closed", "mine")
        ]
        Membership.objects.create(room=rooms[2], user=self.owner)
        shown = Attachment.objects.create(room=self.room, file=self.file)
        file = {"id": str(shown.pk), "name": "x", "size": 1, "media_type": "text/csv"}
        body = {"text": f"Said {no}", "files": [file]}
        Message.objects.create(
            room=self.log, number=no, sender=user, body=body, key=str(uuid.uuid4())
        )
        Log.objects.filter(pk=self.log.pk).update(last=no)

    async def test_lists(self) -> None:
        await self.async_client.aforce_login(self.owner)
        paths = (
            "/",
            "/catalogue/",
            "/catalogue/products/",
            "/basket/",
            "/orders/",
            "/orders/all/",
            "/directory/",
            "/people/",
            "/people/teams/",
            "/people/export.csv",
            "/files/",
            "/files/all/",
            "/jobs/",
            "/rooms/",
            "/rooms/first/",
            "/rooms/first/members/",
            "/notices/",
            "/accounts/members/",
            "/accounts/tokens/",
        )
        await bridge.run(self.make, 2)
        few = {path: await self.queries(path) for path in paths}
        await bridge.run(self.make, 6)
        many = {path: await self.queries(path) for path in paths}
        assert many == few
        assert max(few.values()) <= 16, few

    async def queries(self, path: str) -> int:
        await self.async_client.get(path)  # which may mark something as read
        with CaptureQueriesContext(connection) as queries:
            answer = await self.async_client.get(path)
        assert answer.status_code == 200, path
        self.assertNotContains(answer, "Nothing yet")
        return len(queries)
