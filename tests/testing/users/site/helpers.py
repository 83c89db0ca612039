"""What the tests of all runners share: every way in which code reaches the database."""

import asyncio
import threading

import asgiref.sync
import httpx
from django.db import connection, connections, transaction
from shop.models import Author

import onloop
from onloop import bridge
from onloop.asgi import get_asgi_application


def names(using="default"):
    found = Author.objects.using(using).order_by("name").values_list("name", flat=True)
    return list(found)


async def anames(using="default"):
    found = Author.objects.using(using).order_by("name")
    return [author.name async for author in found]


def names_in_thread():
    """`names`, for a thread: one that ends should close the connections that it has opened."""
    try:
        return names()
    finally:
        if threading.current_thread() is not threading.main_thread():
            connections.close_all()


async def seen_everywhere():
    """What each kind of code sees that an async test can start."""
    async with onloop.scope():
        in_a_scope = await anames()
    async with asyncio.TaskGroup() as group:
        in_a_group = group.create_task(anames())
    async with transaction.atomic():
        in_a_block = await asyncio.gather(anames(), asyncio.to_thread(names_in_thread))
    return [
        await anames(),
        *await asyncio.gather(anames(), anames()),
        await asyncio.create_task(anames()),
        await asyncio.wait_for(anames(), 20),
        in_a_group.result(),
        in_a_scope,
        *in_a_block,
        await bridge.run(names),
        await onloop.sync_to_async(names)(),
        await asgiref.sync.sync_to_async(names_in_thread)(),
        await asgiref.sync.sync_to_async(names_in_thread, thread_sensitive=False)(),
        await asyncio.to_thread(names_in_thread),
        # A chain: thread, the loop again, thread.
        await asyncio.to_thread(asgiref.sync.async_to_sync(anames)),
        await asgiref.sync.sync_to_async(asgiref.sync.async_to_sync(anames))(),
        *await asyncio.gather(*(asyncio.to_thread(names_in_thread) for _ in range(3))),
    ]


async def written_everywhere():
    """Rows written by each kind of code; returns their names."""

    def write(name):
        try:
            Author.objects.create(name=name)
        finally:
            if threading.current_thread() is not threading.main_thread():
                connections.close_all()

    async def awrite(name):
        async with transaction.atomic():
            await Author.objects.acreate(name=name)

    async with onloop.scope():
        await awrite("scope")
    await asyncio.gather(awrite("task 1"), awrite("task 2"))
    await asgiref.sync.sync_to_async(write)("sensitive thread")
    await asgiref.sync.sync_to_async(write, thread_sensitive=False)("other thread")
    await asyncio.gather(*(asyncio.to_thread(write, f"thread {n}") for n in range(3)))
    await bridge.run(Author.objects.create, name="bridge")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(get_asgi_application()), base_url="http://testserver"
    ) as http:
        assert (await http.get("/add/", params={"name": "async view"})).status_code == 200
        assert (await http.get("/add-sync/", params={"name": "view"})).status_code == 200
    threads = ["thread 0", "thread 1", "thread 2", "sensitive thread", "other thread"]
    return sorted([*threads, "scope", "task 1", "task 2", "bridge", "async view", "view"])


async def asgi_get(path, **params):
    """A request to Onloop's application, as a server would make it."""
    transport = httpx.ASGITransport(get_asgi_application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        return await http.get(path, params=params)


def in_plain_thread(function):
    """Call `function` in a thread that inherits no context; return what it returns."""
    got = []
    thread = threading.Thread(target=lambda: got.append(function()))
    thread.start()
    thread.join()
    return got[0]


def slow_query():
    """A statement that the database takes long over, where there is such a thing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")


def on_postgresql():
    return connection.vendor == "postgresql"


def close_all():
    """What the end of a thread should do, as Django's documentation says."""
    count = Author.objects.count()
    connections.close_all()
    return count
