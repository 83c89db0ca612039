"""The examples of `docs/celery.md`, run as they stand there."""

from __future__ import annotations

import datetime
import re

import celery
import pytest
from celery.contrib.django.task import DjangoTask

import onloop.celery
from tests.postgres import ROOT
from tests.project.library.models import Author, Book


def blocks():
    text = (ROOT / "docs" / "celery.md").read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1]


async def test_the_task_does_what_it_says(db_clean, broker) -> None:
    names = {"__name__": __name__}
    exec(compile(next(blocks()), "docs/celery.md", "exec"), names)
    first = await Author.objects.acreate(name="first")
    await Book.objects.acreate(author=first, title="One", published=datetime.date(2001, 1, 1))
    assert await names["adopt"]("One", "second") == "second"
    assert (await Book.objects.select_related("author").aget()).author.name == "second"


def test_the_one_argument_is_the_one_that_other_tests_run() -> None:
    _, app = blocks()
    argument = re.search(r"task_cls=\S+\)", app)[0]
    assert argument in (ROOT / "tests" / "celery" / "app.py").read_text().replace(",", ")")


def test_a_class_of_ones_own(broker) -> None:
    from tests.celery.app import app

    class Own(onloop.celery.Task):
        abstract = True

    assert issubclass(onloop.celery.Task, DjangoTask)

    @app.task(base=Own, name="own")
    async def own(x):
        return x

    try:
        assert own.place == "awaited"
        assert own.apply((5,)).get() == 5
    finally:
        app.tasks.unregister("own")


def test_a_task_of_another_class_is_told_of() -> None:
    from onloop.celery.pool import is_lost

    plain = celery.Celery("plain", set_as_current=False, fixups=[])

    @plain.task
    async def lost():
        pass

    @plain.task
    def kept():
        pass

    assert (is_lost(lost), is_lost(kept)) == (True, False)


@pytest.mark.parametrize("name", onloop.celery.__all__)
def test_what_is_exported_is_there(name: str) -> None:
    assert getattr(onloop.celery, name).__name__ == name
