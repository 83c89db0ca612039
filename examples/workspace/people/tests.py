"""``manage.py test``: the directory as a page."""

import datetime

from django.contrib.auth import get_user_model
from django.test import TestCase

from accounts.models import Profile, Role
from people.models import Person, Team


class DirectoryTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.owner, cls.guest = create("owner"), create("guest")
        Profile.objects.create(user=cls.owner, role=Role.OWNER)
        Profile.objects.create(user=cls.guest, role=Role.GUEST)
        teams = [Team.objects.create(name=name) for name in ("Goods & more", "Shop")]
        joined = datetime.date(2024, 2, 29)
        Person.objects.bulk_create(
            Person(
                name=f"Person {number:02} <Elm>",
                email=f"{number}@example.org",
                team=teams[number % 2],
                joined=joined,
            )
            for number in range(30)
        )

    async def shown(self, query: str = "") -> str:
        answer = await self.async_client.get(f"/directory/{query}")
        assert answer.status_code == 200, answer.status_code
        return answer.content.decode()

    async def test_everybody_who_is_logged_in_sees_the_people(self) -> None:
        answer = await self.async_client.get("/directory/")
        assert answer["Location"] == "/accounts/login/?next=/directory/"
        await self.async_client.aforce_login(self.guest)
        page = await self.shown()
        assert page.count('class="face"') == 24
        assert "Person 00 &lt;Elm&gt;" in page
        assert "30 people ·" in page
        assert "Page 1 of 2" in page
        assert "/accounts/members/" not in page
        await self.async_client.aforce_login(self.owner)
        assert "/accounts/members/" in await self.shown()

    async def test_people_are_found_by_name_and_team(self) -> None:
        await self.async_client.aforce_login(self.guest)
        assert (await self.shown("?q=son+07")).count('class="face"') == 1
        page = await self.shown("?team=Goods+%26+more")
        assert page.count('class="face"') == 15
        assert "<option selected>Goods &amp; more</option>" in page
        assert "Nobody fits." in await self.shown("?q=nobody")

    async def test_a_page_that_is_not_there(self) -> None:
        await self.async_client.aforce_login(self.guest)
        for page, status in (("3", 404), ("0", 400)):
            answer = await self.async_client.get("/directory/", {"page": page})
            assert answer.status_code == status

    def test_initials_are_of_the_first_and_the_last_name(self) -> None:
        names = {"ada": "A", "Ada Elm": "AE", "ada von der elm": "AE", "": ""}
        assert {name: Person(name=name).initials for name in names} == names
