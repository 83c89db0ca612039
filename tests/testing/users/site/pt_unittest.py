"""Django's own test classes, run by pytest."""

import asgiref.sync
from django.test import LiveServerTestCase, TestCase, TransactionTestCase
from helpers import anames, names
from shop import views
from shop.models import Author


async def make(name):
    await Author.objects.acreate(name=name)


class TestRows(TestCase):
    @classmethod
    def setUpTestData(cls):
        asgiref.sync.async_to_sync(make)("data")

    async def test_1_async(self):
        assert await anames() == ["data"]
        await make("left behind")

    def test_2_sync(self):
        assert names() == ["data"]
        with self.captureOnCommitCallbacks(execute=True):
            self.client.get("/add/", {"name": "x"})
        assert views.sent[-1] == "x"


class TestTransactions(TransactionTestCase):
    async def test_1(self):
        await make("left behind")

    async def test_2(self):
        assert await anames() == []


class TestLive(LiveServerTestCase):
    async def test_a_request(self):
        import httpx

        async with httpx.AsyncClient(base_url=self.live_server_url, timeout=90) as http:
            await http.get("/add/", params={"name": "x"})
        assert await anames() == ["x"]
