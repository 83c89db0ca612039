"""``manage.py test``: wrong passwords slow down."""

import asyncio
from contextlib import ExitStack
from typing import Any

from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import RequestFactory, SimpleTestCase, TestCase, override_settings

from accounts.tries import TooManyTries, counted

SENTENCE = "a sentence that nobody guesses"
# No stretch of time ends during these tests.
LONG_S = 10**9


class Wrong(Exception):
    pass


class CountTests(SimpleTestCase):
    def setUp(self) -> None:
        cache.clear()
        self.addCleanup(cache.clear)

    def attempt(
        self, right: bool = False, *, name: str = "ada", now: float = 0, address: str = "::1"
    ) -> None:
        request = RequestFactory().get("/", REMOTE_ADDR=address)
        with counted(request, name, now):
            if not right:
                raise Wrong

    def use_up(self, **options: Any) -> None:
        for _ in range(5):
            with self.assertRaises(Wrong):
                self.attempt(**options)

    def test_after_so_many_no_password_is_looked_at_not_even_the_right_one(self) -> None:
        self.use_up(now=100)
        with self.assertRaises(TooManyTries) as refused:
            self.attempt(right=True, now=100)
        assert refused.exception.wait_s == 800

    def test_a_try_counts_before_its_password_was_looked_at(self) -> None:
        """Else all that come at once are looked at, however many these are."""
        request = RequestFactory().get("/")
        with ExitStack() as under_way:
            for _ in range(5):
                under_way.enter_context(counted(request, "ada", 0))
            with self.assertRaises(TooManyTries), counted(request, "ada", 0):
                self.fail("A sixth password was looked at.")

    def test_the_lock_ends(self) -> None:
        self.use_up(now=100)
        with self.assertRaises(TooManyTries):
            self.attempt(now=899)
        self.attempt(right=True, now=900)

    def test_nobody_locks_out_somebody_else(self) -> None:
        self.use_up()
        self.attempt(right=True, name="ben")
        self.attempt(right=True, address="192.0.2.1")

    def test_whoever_has_the_rest_of_an_ipv6_address_has_no_more_tries(self) -> None:
        self.use_up(address="2001:db8::1")
        with self.assertRaises(TooManyTries):
            self.attempt(address="2001:db8::2")

    def test_the_right_password_begins_anew(self) -> None:
        for _ in range(3):
            for _ in range(4):
                with self.assertRaises(Wrong):
                    self.attempt()
            self.attempt(right=True)

    @override_settings(
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://127.0.0.1:1",
            }
        }
    )
    def test_a_cache_that_is_away_keeps_nobody_out(self) -> None:
        with self.assertLogs("accounts.tries", "WARNING"):
            for _ in range(7):
                self.attempt(right=True)


@override_settings(LOG_IN_WINDOW_S=LONG_S)
class PageTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada = create("ada", password=SENTENCE, is_staff=True)
        cls.ben = create("ben", password=SENTENCE)

    def setUp(self) -> None:
        cache.clear()
        self.addCleanup(cache.clear)

    async def log_in(
        self, password: str, name: str = "ada", path: str = "/accounts/login/"
    ) -> Any:
        form = {"username": name, "password": password}
        return await self.async_client_class().post(path, form)

    async def test_a_page_says_what_to_do(self) -> None:
        for _ in range(5):
            self.assertContains(await self.log_in("wrong"), "Please enter a correct username")
        for password in ("wrong", SENTENCE):
            answer = await self.log_in(password)
            self.assertContains(answer, "Then try again.", status_code=429)
            assert 0 < int(answer["Retry-After"]) <= LONG_S
        assert (await self.log_in(SENTENCE, "ben")).status_code == 302

    @override_settings(LOG_IN_TRIES=1)
    async def test_of_two_at_once_one_is_looked_at(self) -> None:
        answers = await asyncio.gather(self.log_in("wrong"), self.log_in("wrong too"))
        assert sorted(answer.status_code for answer in answers) == [200, 429]

    async def test_the_admin_counts_with_the_page(self) -> None:
        for _ in range(3):
            assert (await self.log_in("wrong")).status_code == 200
        for _ in range(2):
            answer = await self.log_in("wrong", path="/admin/login/")
            self.assertContains(answer, "for a staff account")
        for path in ("/admin/login/", "/accounts/login/"):
            assert (await self.log_in(SENTENCE, path=path)).status_code == 429
        cache.clear()
        assert (await self.log_in(SENTENCE, path="/admin/login/")).status_code == 302

    async def test_so_does_the_change_of_a_password(self) -> None:
        await self.async_client.aforce_login(self.ada)
        new = {"new_password1": SENTENCE * 2, "new_password2": SENTENCE * 2}
        change = "/accounts/profile/password/"
        for _ in range(5):
            answer = await self.async_client.post(change, {**new, "old_password": "wrong"})
            assert answer.status_code == 400
        answer = await self.async_client.post(change, {**new, "old_password": SENTENCE})
        assert answer.status_code == 429
        assert (await self.log_in(SENTENCE)).status_code == 429
        assert await self.async_client.alogin(username="ada", password=SENTENCE), "as before"

    async def test_the_admin_has_no_other_page_to_change_it(self) -> None:
        await self.async_client.aforce_login(self.ada)
        answer = await self.async_client.get("/admin/password_change/")
        self.assertRedirects(answer, "/accounts/profile/", fetch_redirect_response=False)
