"""Ways to wait for the database from a coroutine: without an `await`, and with one.

All of `EXPLICIT` return how many books there are, which has to be two, of one author.
"""

from __future__ import annotations

import asyncio

import asgiref.sync
from django.db import connection, transaction
from django.db.models import aprefetch_related_objects, prefetch_related_objects
from django.db.models.signals import post_save
from django.dispatch import Signal
from django.template import engines

import onloop
from onloop import bridge
from tests.project.library.models import Author, Book, Tag

# --- implicit ---------------------------------------------------------------------------------


async def lazy_relation():
    book = await Book.objects.afirst()
    return book.author


async def related_set():
    author = await Author.objects.afirst()
    return list(author.books.all())


async def deferred_field():
    book = await Book.objects.only("price").afirst()
    return book.title


async def plain_loop():
    for _ in Book.objects.all():
        pass


async def comprehension():
    return [book.title for book in Book.objects.all()]


async def chunked_loop():
    for _ in Book.objects.iterator():
        pass


async def generator_from_sync_code():
    rows = await bridge.run(lambda: (book.title for book in Book.objects.iterator()))
    return next(rows)


async def truth():
    return bool(Book.objects.all())


async def raw():
    return list(Book.objects.raw("SELECT * FROM library_book"))


async def get():
    return Book.objects.get(price=0)


async def create():
    return Author.objects.create(name="New")


async def save():
    author = await Author.objects.afirst()
    author.save()


async def delete():
    author = await Author.objects.afirst()
    author.delete()


async def many_to_many():
    book = await Book.objects.afirst()
    book.tags.add(Tag(pk=1))


async def prefetch():
    prefetch_related_objects([Author(pk=1)], "books")


async def cursor():
    with connection.cursor() as opened:
        opened.execute("SELECT 1")


async def block():
    with transaction.atomic():
        pass


async def inner_block():
    async with transaction.atomic():
        with transaction.atomic():
            pass


async def inner_block_without_savepoint():
    """No statement, but a turn on the connection, for which it may wait."""
    async with transaction.atomic():
        with transaction.atomic(savepoint=False):
            pass


@transaction.atomic
def decorated():
    pass


async def decorated_function():
    decorated()


async def autocommit():
    connection.set_autocommit(False)


async def template():
    page = engines["django"].from_string("{% for book in books %}{{ book }}{% endfor %}")
    return page.render({"books": Book.objects.all()})


async def async_generator():
    async def rows():
        yield Book.objects.count()

    return [row async for row in rows()]


async def signal():
    Signal().send(None)  # nobody waits
    sent = Signal()
    receiver = count_books
    sent.connect(receiver)
    sent.send(None)


def count_books(**kwargs):
    return Book.objects.count()


async def behind_sync_code():
    """From explicit synchronous code into a coroutine again: that one has to await."""
    return await bridge.run(asgiref.sync.async_to_sync(get))


async def behind_onloops_adapter():
    return await bridge.run(onloop.async_to_sync(get))


async def gathered():
    return await asyncio.gather(asyncio.sleep(0), get())


async def in_a_group():
    async with asyncio.timeout(90):
        task = asyncio.create_task(get())
        return await task


async def after_explicit_code():
    """What `bridge.run` let through does not let the rest of the coroutine through."""
    await bridge.run(Book.objects.count)
    await Book.objects.acount()
    return Book.objects.count()


IMPLICIT = [
    lazy_relation, related_set, deferred_field, plain_loop, comprehension, chunked_loop,
    generator_from_sync_code, truth, raw, get, create, save, delete, many_to_many, prefetch,
    cursor, block, inner_block, inner_block_without_savepoint, decorated_function, autocommit,
    template, async_generator,
    signal, behind_sync_code, behind_onloops_adapter, gathered, in_a_group, after_explicit_code,
]  # fmt: skip

# --- explicit ---------------------------------------------------------------------------------


async def a_methods():
    author = await Author.objects.acreate(name="New")
    author.name = "Newer"
    await author.asave()
    await author.arefresh_from_db()
    await author.books.acreate(title="Third", published="2001-01-01")
    tag, _ = await Tag.objects.aget_or_create(name="tag")
    book = await Book.objects.select_related("author").alast()
    await book.tags.aadd(tag)
    assert (await book.tags.aget(), book.author.name) == (tag, "Newer")
    await author.adelete()
    return await Book.objects.acount()


async def async_for():
    return len([book async for book in Book.objects.all()])


async def aiterator():
    return len([book async for book in Book.objects.aiterator(chunk_size=1)])


async def alist():
    return len(await Book.objects.alist())


async def aprefetch():
    author = await Author.objects.afirst()
    await aprefetch_related_objects([author], "books")
    return len(author.books.all())


async def prefetched():
    author = await Author.objects.prefetch_related("books").afirst()
    return len(author.books.all())


async def async_block():
    async with transaction.atomic(), transaction.atomic():
        return await Book.objects.acount()


@transaction.atomic
async def decorated_coroutine():
    return await Book.objects.acount()


async def run_in_bridge():
    return await bridge.run(lambda: sum(1 for book in Book.objects.all() if book.author.name))


async def onloops_adapter():
    return await onloop.sync_to_async(Book.objects.count)()


def count_in_thread():
    try:
        return Book.objects.count()
    finally:
        connection.close()


async def asgirefs_adapter():
    return await asgiref.sync.sync_to_async(count_in_thread)()


async def thread():
    return await asyncio.to_thread(count_in_thread)


async def sync_block_in_bridge():
    def both():
        with transaction.atomic():
            Author.objects.create(name="New")
            return Book.objects.count()

    return await bridge.run(both)


async def there_and_back():
    """Sync code, a coroutine that awaits, sync code in it."""

    async def inner():
        return await bridge.run(Book.objects.count)

    return await bridge.run(onloop.async_to_sync(inner))


async def sync_code_after_its_coroutine():
    def both():
        onloop.async_to_sync(alist)()
        return Book.objects.count()

    return await bridge.run(both)


async def callbacks():
    counted: list[int] = []
    async with transaction.atomic():
        await Author.objects.acreate(name="New")
        transaction.on_commit(lambda: counted.append(Book.objects.count()))
    return counted[0]


async def receivers_of_asend():
    sent = Signal()
    sent.connect(count_books)
    return (await sent.asend(None))[0][1]


async def receivers_of_a_model():
    counted: list[int] = []

    def receiver(**kwargs):
        counted.append(Book.objects.count())

    post_save.connect(receiver, sender=Author)
    try:
        await Author.objects.acreate(name="New")
    finally:
        post_save.disconnect(receiver, sender=Author)
    return counted[0]


async def gathered_awaits():
    return (await asyncio.gather(Book.objects.acount(), Author.objects.acount()))[0]


EXPLICIT = [
    a_methods, async_for, aiterator, alist, aprefetch, prefetched, async_block,
    decorated_coroutine, run_in_bridge, onloops_adapter, asgirefs_adapter, thread,
    sync_block_in_bridge, there_and_back, sync_code_after_its_coroutine, callbacks,
    receivers_of_asend, receivers_of_a_model, gathered_awaits,
]  # fmt: skip
