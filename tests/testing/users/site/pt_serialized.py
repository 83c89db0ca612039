"""Rows of migrations, put back for the tests that ask for them; see `cases_first.py`."""

import pytest
from runner import mark
from shop.models import Shelf

pytestmark = [mark, pytest.mark.usefixtures("django_db_serialized_rollback")]


async def test_1_removes_them(transactional_db):
    assert (await Shelf.objects.aget()).label == "by a migration"
    await Shelf.objects.all().adelete()


async def test_2_finds_them(transactional_db):
    assert (await Shelf.objects.aget()).label == "by a migration"
