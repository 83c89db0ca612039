"""``manage.py test``: people log in, and see their pages, while Redis is away."""

from django.contrib.auth import get_user_model
from django.test import TestCase, override_settings

NOBODY = {"BACKEND": "onloop.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}


class AwayTests(TestCase):
    async def test_sessions_outlive_their_cache(self) -> None:
        await get_user_model().objects.acreate_user("ada", password="a sentence")
        away = {"CACHES": {"default": NOBODY}, "SESSION_ENGINE": "workspace.sessions"}
        with override_settings(**away):
            form = {"username": "ada", "password": "a sentence"}
            answer = await self.async_client.post("/accounts/login/", form)
            assert answer.status_code == 302
            assert (await self.async_client.get("/accounts/profile/")).status_code == 200
