"""What is left behind at the very end: the test databases can be dropped all the same."""
# ruff: noqa: PT009 - unittest's own asserts, as in a Django project

import asyncio
import threading

from asgiref.sync import SyncToAsync
from django.db import connection, transaction
from django.test import TransactionTestCase
from helpers import anames, names, on_postgresql, slow_query

from onloop import bridge

_kept = []
_never = threading.Event()


def tearDownModule():
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        return  # there is nothing to drop

    async def in_a_block():
        async with transaction.atomic():
            await anames()
            await asyncio.get_running_loop().create_future()

    async def in_a_query():
        if on_postgresql():
            await bridge.run(slow_query)

    async def with_a_connection():
        await bridge.run(connection.ensure_connection)
        await asyncio.get_running_loop().create_future()

    async def start():
        works = in_a_block, in_a_query, with_a_connection
        _kept.extend([asyncio.create_task(work()) for work in works])
        for _ in range(20):
            await asyncio.sleep(0.005)

    # One that is never closed, and one that goes on.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    running = asyncio.new_event_loop()
    threading.Thread(target=running.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(start(), running).result()
    _kept.extend([loop, running])

    ready = threading.Event()

    def in_a_thread():
        try:
            with transaction.atomic():
                names()
                ready.set()
                _never.wait()
        finally:
            ready.set()

    threading.Thread(target=in_a_thread, daemon=True).start()
    ready.wait()
    # Whose thread stays as long as the process.
    SyncToAsync.single_thread_executor.submit(names).result()


class Nothing(TransactionTestCase):
    def test_nothing(self):
        self.assertEqual(names(), [])
