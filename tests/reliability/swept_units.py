"""What R1 asks of each cancelled run of a request or a message of a consumer."""

from __future__ import annotations

import asyncio

from onloop.db import pools
from onloop.testing import LeakLedger
from tests.project.library.models import Author
from tests.reliability import works
from tests.reliability.random_cancels import rows_seen_from_outside
from tests.reliability.scale import PATIENCE_S


class Rule:
    """`prepare` and `check` of a sweep over units of `works`: all or nothing, nothing left."""

    def __init__(self, db_clean, folder):
        self._db_clean = db_clean
        self._ledger = LeakLedger(temp_folder=folder, databases=["default"])
        works.units.clear()

    async def prepare(self):
        if not self._ledger.started:
            await Author.objects.acount()
            self._ledger.start()

    async def check(self, outcome):
        unit = works.units[len(works.units) - 1]
        async with asyncio.timeout(PATIENCE_S):
            while unit.running:  # a thread of its own goes on
                await asyncio.sleep(0.001)
        await self._ledger.averify()
        rows = rows_seen_from_outside(self._db_clean).get(unit.number, set())
        assert rows == (unit.written if unit.whole else set())
        assert unit.wrong == []
        for pool in pools.pools_of(asyncio.get_running_loop()):
            stats = pool.stats()
            assert stats["pool_size"] == stats["pool_available"], stats
