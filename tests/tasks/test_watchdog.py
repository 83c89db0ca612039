"""A job that holds the loop is named in the log, with its cure."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.usefixtures("fresh_watchdog")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("block_on_loop", "mark it @onloop.in_thread in place of @onloop.on_loop"),
        ("block", 'add "tests.tasks.jobs.block" to ONLOOP["IN_THREAD"]'),
        ("ablock", ""),
    ],
)
async def test_a_job_that_blocks_is_named(jobs, ended, settings_of_onloop, caplog, name, cure):
    settings_of_onloop(STALL_MS=100, ON_LOOP=["tests.tasks.jobs.block"])
    await ended(await getattr(jobs, name).aenqueue(0.6))
    async with asyncio.timeout(90):
        while not (
            said := [
                record.getMessage()
                for record in caplog.records
                if record.name == "onloop.watchdog" and "seconds)" in record.getMessage()
            ]
        ):
            await asyncio.sleep(0.01)
    assert f"job tests.tasks.jobs.{name}" in said[0]
    assert cure in said[0]
    assert "sleep" in said[0]
