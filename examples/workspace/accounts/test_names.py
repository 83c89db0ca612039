"""``manage.py test``: names that several ask for in the same moment."""

import asyncio

from django.contrib.auth import get_user_model
from django.test import TransactionTestCase

from accounts import services


class NameTests(TransactionTestCase):
    async def test_of_those_who_sign_up_at_once_one_has_the_name(self) -> None:
        """In which letters ever."""
        users = get_user_model()
        names = ["Ada", "ada", "ADA", "aDa", "ada"]
        results = await asyncio.gather(
            *(services.sign_up(users(username=name, password="!")) for name in names),
            return_exceptions=True,
        )
        refused = [each for each in results if isinstance(each, services.UsernameTaken)]
        assert len(refused) == len(names) - 1, results
        assert await users.objects.acount() == 1
