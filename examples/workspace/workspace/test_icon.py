"""``manage.py test``: the icon."""

from django.test import SimpleTestCase


class IconTests(SimpleTestCase):
    async def test_a_browser_that_shows_json_finds_an_icon(self) -> None:
        answer = await self.async_client.get("/favicon.ico")
        assert answer["Location"] == "/static/workspace/icon.svg"
