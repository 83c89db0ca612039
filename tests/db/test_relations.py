"""Related managers, prefetching, inheritance: relations of models in async code."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Prefetch

from tests.project.library.models import Author, Book, Novel, Review, Tag

from .helpers import PUBLISHED


async def test_the_manager_of_a_foreign_keys_other_side(shelf: Any) -> None:
    async def work() -> None:
        ann = await Author.objects.aget(name="Ann")
        book = await ann.books.acreate(title="A3", published=PUBLISHED)
        assert await ann.books.acount() == 3
        _, created = await ann.books.aget_or_create(title="A3")
        assert not created
        _, created = await ann.books.aupdate_or_create(title="A3", defaults={"price": 4})
        assert not created
        bob = await Author.objects.aget(name="Bob")
        await bob.books.aadd(book)
        assert [b.title async for b in bob.books.order_by("title")] == ["A3", "B1"]

    await shelf(work())


async def test_the_manager_of_a_many_to_many_relation(shelf: Any) -> None:
    async def work() -> None:
        book = await Book.objects.aget(title="A1")
        red, blue = [await Tag.objects.aget(name=name) for name in ("red", "blue")]

        async def tags() -> set[str]:
            return {tag.name async for tag in book.tags.all()}

        await book.tags.aadd(red, blue)
        assert await tags() == {"red", "blue"}
        await book.tags.aremove(red)
        assert await tags() == {"blue"}
        await book.tags.aset([red])
        assert await tags() == {"red"}
        green = await book.tags.acreate(name="green")
        assert await tags() == {"red", "green"}
        _, created = await book.tags.aget_or_create(name="green")
        assert not created
        _, created = await book.tags.aupdate_or_create(name="white", defaults={})
        assert created
        assert await tags() == {"red", "green", "white"}
        assert await green.books.acount() == 1
        await book.tags.aclear()
        assert await tags() == set()

    await shelf(work())


async def test_select_related_and_prefetch_related(shelf: Any) -> None:
    async def work() -> None:
        book = await Book.objects.select_related("author").aget(title="B1")
        assert book.author.name == "Bob"
        authors = Author.objects.prefetch_related("books__tags").order_by("name")
        found = {author.name: len(author.books.all()) async for author in authors}
        assert found == {"Ann": 2, "Bob": 1}
        cheap = Prefetch("books", Book.objects.filter(price__lt=2), to_attr="cheap")
        author = await Author.objects.prefetch_related(cheap).aget(name="Ann")
        assert [book.title for book in author.cheap] == ["A1"]

    await shelf(work())


async def test_aprefetch_related_objects_and_an_iterator_that_prefetches(shelf: Any) -> None:
    async def work() -> None:
        authors = await Author.objects.order_by("name").alist()
        await models.aprefetch_related_objects(authors, "books")
        assert [len(author.books.all()) for author in authors] == [2, 1]
        rows = Author.objects.order_by("name").prefetch_related("books").aiterator(chunk_size=1)
        assert [len(author.books.all()) async for author in rows] == [2, 1]

    await shelf(work())


async def test_only_and_defer_load_the_rest_on_demand(shelf: Any) -> None:
    async def work() -> None:
        book = await Book.objects.only("title").aget(title="A1")
        assert book.get_deferred_fields() >= {"price", "published"}
        await book.arefresh_from_db(fields=["price"])
        assert book.price == 1
        other = await Book.objects.defer("price").aget(title="A2")
        assert other.get_deferred_fields() == {"price"}

    await shelf(work())


async def test_multi_table_inheritance(shelf: Any) -> None:
    async def work() -> None:
        author = await Author.objects.aget(name="Ann")
        novel = await Novel.objects.acreate(
            author=author, title="N1", published=PUBLISHED, genre="crime"
        )
        assert await Book.objects.acount() == 4
        novel.genre, novel.title = "love", "N2"
        await novel.asave()
        same = await Novel.objects.select_related("book_ptr").aget(pk=novel.pk)
        assert (same.title, same.genre) == ("N2", "love")
        assert (await Novel.objects.filter(pk=novel.pk).aupdate(title="N3", genre="war")) == 1
        await novel.adelete()
        assert await Book.objects.acount() == 3

    await shelf(work())


async def test_deletions_cascade(shelf: Any) -> None:
    async def work() -> None:
        book = await Book.objects.aget(title="A1")
        await Review.objects.acreate(book=book, stars=5)
        author = await Author.objects.aget(name="Ann")
        total, _ = await author.adelete()
        assert total == 4
        assert await Review.objects.acount() == 0

    await shelf(work())


async def test_a_generic_relation_is_followed(shelf: Any) -> None:
    """The log of the admin refers to users and content types."""
    from django.contrib.contenttypes.models import ContentType

    async def work() -> None:
        book = await Book.objects.aget(title="A1")
        kind = await ContentType.objects.aget(app_label="library", model="book")
        found = [row async for row in kind.get_all_objects_for_this_type(pk=book.pk)]
        assert found == [book]

    await shelf(work())
