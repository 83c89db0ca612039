"""PostgreSQL: what `django.contrib.postgres` brings, on the loop, without an extension."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.postgres.aggregates import ArrayAgg
from django.contrib.postgres.fields import ArrayField, DateTimeRangeField, IntegerRangeField
from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector
from django.db import connection, models, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange, NumericRange

from onloop import bridge

from .helpers import assert_all_back

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
async def note(db_clean: Any) -> AsyncIterator[Any]:
    """A model of its own, made and dropped by the schema editor on the loop."""

    class Note(models.Model):
        text = models.TextField()
        tags = ArrayField(models.CharField(max_length=20), default=list)
        grid = ArrayField(ArrayField(models.IntegerField()), default=list)
        data = models.JSONField(default=dict)
        ages = IntegerRangeField(null=True)
        during = DateTimeRangeField(null=True)

        class Meta:
            app_label = "library"

    def make() -> None:
        with connection.schema_editor() as editor:
            editor.create_model(Note)

    def drop() -> None:
        with connection.schema_editor() as editor:
            editor.delete_model(Note)

    await bridge.run(make)
    try:
        yield Note
    finally:
        await bridge.run(drop)
        apps.all_models["library"].pop("note")
        apps.clear_cache()


async def test_arrays_come_back_as_they_were_and_can_be_searched(note: Any) -> None:
    await note.objects.acreate(text="a", tags=["x", "y"], grid=[[1, 2], [3, 4]])
    await note.objects.acreate(text="b", tags=["z"])
    found = await note.objects.aget(tags__contains=["x"])
    assert (found.tags, found.grid) == (["x", "y"], [[1, 2], [3, 4]])
    assert await note.objects.filter(tags__overlap=["y", "z"]).acount() == 2
    assert (await note.objects.aget(tags__len=1)).text == "b"
    await assert_all_back()


async def test_json_comes_back_as_it_was_and_can_be_searched(note: Any) -> None:
    data = {"a": [1, {"b": None}], "ä": "ü", "deep": {"er": True}}
    await note.objects.acreate(text="a", data=data)
    found = await note.objects.aget(data__deep__er=True)
    assert found.data == data
    assert await note.objects.filter(data__contains={"a": [1]}).aexists()
    assert await note.objects.filter(data__has_key="ä").aexists()


async def test_ranges_come_back_as_they_were_and_can_be_searched(note: Any) -> None:
    during = DateTimeTZRange(BEGIN, BEGIN + DAY)
    await note.objects.acreate(text="a", ages=NumericRange(1, 5), during=during)
    found = await note.objects.aget(ages__contains=3)
    assert (found.ages, found.during) == (NumericRange(1, 5), during)
    assert await note.objects.filter(during__contains=BEGIN).aexists()
    assert not await note.objects.filter(during__fully_gt=during).aexists()


async def test_full_text_search_finds_and_ranks(note: Any) -> None:
    await note.objects.acreate(text="the cat sat on the mat with another cat")
    await note.objects.acreate(text="a cat")
    await note.objects.acreate(text="a dog")
    vector, query = (
        SearchVector("text", config="english"),
        SearchQuery("cats", config="english"),
    )
    rows = note.objects.annotate(rank=SearchRank(vector, query), found=vector)
    found = [row.text async for row in rows.filter(found=query).order_by("-rank")]
    assert len(found) == 2
    assert found[0].startswith("the cat")


async def test_aggregates_of_postgresql_work(note: Any) -> None:
    await note.objects.abulk_create(note(text=text) for text in "abc")
    totals = await note.objects.aaggregate(all=ArrayAgg("text", default=[]))
    assert sorted(totals["all"]) == ["a", "b", "c"]


async def test_many_tasks_write_and_read_them_at_once(note: Any) -> None:
    async def work(n: int) -> None:
        async with transaction.atomic():
            made = await note.objects.acreate(
                text=str(n), tags=[str(n)] * n, data={"n": n}, ages=NumericRange(n, n + 1)
            )
            found = await note.objects.aget(pk=made.pk)
            assert (found.tags, found.data["n"]) == ([str(n)] * n, n)
            assert found.ages == NumericRange(n, n + 1)

    await asyncio.gather(*(work(n) for n in range(20)))
    assert await note.objects.acount() == 20
    await assert_all_back()
