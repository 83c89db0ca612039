"""A server in a thread, and tests that ask it over sockets."""
# ruff: noqa: PT009 - unittest's own asserts, as in a Django project

import asyncio
import urllib.request

import httpx
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.db import transaction
from django.test import LiveServerTestCase
from helpers import anames, names
from shop.models import Author


class Live(LiveServerTestCase):
    def setUp(self):
        Author.objects.create(name="Ann")

    def get(self, path):
        with urllib.request.urlopen(self.live_server_url + path, timeout=90) as answer:
            return answer.read().decode()

    def test_a_sync_test(self):
        for path in ("/authors/", "/authors-sync/"):
            self.assertEqual(self.get(path), '{"names": ["Ann"]}')
        self.get("/add/?name=async")
        self.get("/add-sync/?name=sync")
        self.assertEqual(names(), ["Ann", "async", "sync"])

    async def test_an_async_test(self):
        async with httpx.AsyncClient(base_url=self.live_server_url, timeout=90) as http:
            wanted = [http.get("/add/", params={"name": f"a {n}"}) for n in range(4)]
            wanted += [http.get("/add-sync/", params={"name": f"s {n}"}) for n in range(4)]
            answers = await asyncio.gather(*wanted)
            self.assertEqual([answer.status_code for answer in answers], [200] * 8)
            answer = await http.get("/authors/")
            self.assertEqual(answer.json()["names"], await anames())
            self.assertEqual(await Author.objects.acount(), 9)

    async def test_what_the_test_writes_meanwhile(self):
        async with httpx.AsyncClient(base_url=self.live_server_url, timeout=90) as http:

            async def write(n):
                async with transaction.atomic():
                    await Author.objects.acreate(name=f"t {n}")

            asked = [http.get("/add/", params={"name": f"a {n}"}) for n in range(4)]
            await asyncio.gather(*asked, *(write(n) for n in range(4)))
            self.assertEqual(await Author.objects.acount(), 9)
            self.assertEqual(len((await http.get("/authors-sync/")).json()["names"]), 9)


class StaticLive(StaticLiveServerTestCase):
    def test_static_files(self):
        with urllib.request.urlopen(f"{self.live_server_url}/static/shop/note.txt") as answer:
            self.assertEqual(answer.read(), b"a static file\n")

    async def test_the_database(self):
        await Author.objects.acreate(name="Ann")
        async with httpx.AsyncClient(base_url=self.live_server_url, timeout=90) as http:
            self.assertEqual((await http.get("/authors/")).json(), {"names": ["Ann"]})
