"""A database that does not take what is told of a job, or says nothing: it is told later."""

from __future__ import annotations

import asyncio

import pytest

from onloop.db.backends.postgresql import connection as driver
from onloop.db.pool import pool
from onloop.tasks import beside, home, recorder
from onloop.tasks.models import Job
from tests.database import close_pools


async def row_when(result, **values):
    async with asyncio.timeout(90):
        while not await Job.objects.filter(pk=result.id, **values).aexists():
            await asyncio.sleep(0.01)


@pytest.mark.only_on("sqlite")
async def test_a_report_from_a_long_block_is_stored_when_that_ends(
    jobs, stage, monkeypatch, caplog
):
    """Whoever waits to write gives up meanwhile, more than once."""
    monkeypatch.setattr(beside, "TRY_S", 0.1)
    monkeypatch.setattr(recorder, "LATER_S", 0.1)
    result = await jobs.reports_in_a_block_only.aenqueue()
    await stage.until(lambda: caplog.text.count("could not be stored") > 2)
    stage.seen.append("leave")
    await row_when(result, done=1)


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("writes", [False, True], ids=["idle", "as it writes"])
async def test_an_end_is_stored_though_connections_say_nothing_any_more(
    jobs, stage, monkeypatch, fault_proxy, writes
):
    """As after a failover: new ones are answered."""
    monkeypatch.setattr(beside, "TRY_S", 1.0)
    monkeypatch.setattr(pool, "CHECK_S", 0.3)
    monkeypatch.setattr(driver, "CANCEL_S", 0.3)
    monkeypatch.setattr(driver, "DRAIN_S", 0.3)
    with fault_proxy.in_front_of("default"):
        try:
            task = jobs.report_for_ever if writes else jobs.report_and_hold
            result = await task.aenqueue(*([] if writes else [1, 2]))
            await row_when(result, done__gte=1)
            fault_proxy.half_open()
            if writes:
                reported = len(stage.seen)
                await stage.until(lambda: len(stage.seen) > reported + 20)
            stage.go.set()
            queue = home._queues[asyncio.get_running_loop()]["default"]
            await stage.until(lambda: not queue.stats()["running"])
            close_pools()
            assert (await Job.objects.aget(pk=result.id)).status == "SUCCESSFUL"
        finally:
            close_pools()
