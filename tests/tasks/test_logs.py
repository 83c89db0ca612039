"""What Django's log says of a job that was cancelled, and of one that failed."""

from __future__ import annotations

import logging

import pytest

from onloop.tasks import acancel
from onloop.tasks.framework import LOGGER


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, LOGGER)

    def lines_():
        return [
            (record.levelname, record.exc_info is not None, record.getMessage())
            for record in caplog.records
            if record.name == LOGGER and "state=FAILED" in record.getMessage()
        ]

    return lines_


@pytest.mark.parametrize("name", ["hold", "look_in_thread", "report_on_loop"])
async def test_a_cancelled_job_is_no_error(jobs, stage, ended, lines, name):
    result = await getattr(jobs, name).aenqueue(*([10**9] if "report" in name else []))
    await stage.until(lambda: stage.seen)
    assert await acancel(result.id)
    await ended(result)
    if name == "look_in_thread":
        assert lines() == []  # it has done its work
        return
    ((level, has_traceback, message),) = lines()
    assert (level, has_traceback) == ("INFO", False)
    assert message.endswith("state=FAILED (cancelled)")


async def test_a_job_that_fails_is_an_error_with_its_traceback(jobs, ended, lines):
    await ended(await jobs.fail.aenqueue("broken"))
    ((level, has_traceback, message),) = lines()
    assert (level, has_traceback) == ("ERROR", True)
    assert message.endswith("state=FAILED")


async def test_who_wants_no_lines_of_that_level_gets_none(jobs, stage, ended, lines, caplog):
    caplog.set_level(logging.WARNING, LOGGER)
    caplog.handler.setLevel(logging.NOTSET)  # it is the logger's level that counts
    result = await jobs.hold.aenqueue()
    await stage.until(lambda: stage.seen)
    await acancel(result.id)
    await ended(result)
    assert lines() == []
