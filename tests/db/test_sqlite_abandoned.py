"""A cursor of SQLite's whose connection is closed before it: by the worker, at its end."""

from __future__ import annotations

import pytest
from django.db import connection

import onloop
from onloop import bridge


@pytest.mark.only_on("sqlite")
async def test_a_cursor_is_abandoned_after_its_connection_was_closed(db_clean):
    def abandoned():
        mine = connection.copy()
        mine.connect()
        cursor = mine.create_cursor()
        mine.connection.close()
        return cursor.abandon()

    async with onloop.scope():
        assert await bridge.run(abandoned)
