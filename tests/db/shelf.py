"""Rows that most tests of QuerySets can use: two authors, three books, two tags."""

from __future__ import annotations

from tests.project.library.models import Author, Book, Tag

from .helpers import PUBLISHED


async def fill() -> None:
    ann = await Author.objects.acreate(name="Ann")
    bob = await Author.objects.acreate(name="Bob")
    await Book.objects.abulk_create(
        Book(author=author, title=title, published=PUBLISHED, price=price)
        for author, title, price in ((ann, "A1", 1), (ann, "A2", 2), (bob, "B1", 3))
    )
    await Tag.objects.abulk_create([Tag(name="red"), Tag(name="blue")])
