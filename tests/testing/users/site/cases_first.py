"""What has to be tested before the tables are emptied for the first time.

Emptying them writes content types anew, with other keys: the rows that Django has put aside
then no longer fit. That is Django's own, with any engine.
"""
# ruff: noqa: PT009 - unittest's own asserts, as in a Django project

from django.test import TransactionTestCase
from shop.models import Shelf


class Migrated(TransactionTestCase):
    """Rows of migrations are there again for a class that asks for them."""

    serialized_rollback = True

    async def test_1(self):
        self.assertEqual((await Shelf.objects.aget()).label, "by a migration")
        await Shelf.objects.all().adelete()

    async def test_2(self):
        self.assertEqual((await Shelf.objects.aget()).label, "by a migration")
