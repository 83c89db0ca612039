"""``manage.py test``: names and tokens that are asked for in the same moment."""

import asyncio

from django.contrib.auth import get_user_model
from django.test import TransactionTestCase

from accounts import services
from onloop.tokens.models import Token


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


class TokenTests(TransactionTestCase):
    async def test_nobody_gets_more_tokens_by_asking_at_once(self) -> None:
        user = await get_user_model().objects.acreate_user("ada")
        for _ in range(services.MAX_TOKENS - 2):
            await Token.aissue(user, name="before")
        results = await asyncio.gather(
            *(services.issue_token(user, f"at once, {n}", None) for n in range(6)),
            return_exceptions=True,
        )
        assert sum(isinstance(each, services.TooManyTokens) for each in results) == 4, results
        assert await services.valid_tokens(user).acount() == services.MAX_TOKENS

    async def test_of_two_with_one_name_at_once_one_is_issued(self) -> None:
        user = await get_user_model().objects.acreate_user("ada")
        results = await asyncio.gather(
            *(services.issue_token(user, "Nightly", None) for _ in range(4)),
            return_exceptions=True,
        )
        assert sum(isinstance(each, services.TokenNameTaken) for each in results) == 3, results
