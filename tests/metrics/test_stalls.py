"""Stalls that are kept to be looked at, and how late loops are."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from onloop import metrics, watchdog
from onloop.culprits import Stretch
from onloop.stalls import RECENT, Record
from tests.test_watchdog import blocks_in_a_task, threads, until

pytestmark = pytest.mark.usefixtures("fresh_watchdog")


async def test_a_stall_is_kept_with_its_culprit_and_the_lag_it_made():
    began = time.time()
    await blocks_in_a_task()
    await asyncio.to_thread(until, lambda: not threads(), "the end of the watchdog")
    # Others are of a process that stood still, somewhere.
    (stall,) = (each for each in watchdog.recent_stalls() if each.culprit.function == "blocks")
    assert began <= stall.at <= time.time()
    read = metrics.read()["loop"]
    assert read["count"] == len(read["recent"]) >= 1
    assert read["longest_ms"] == max(each["ms"] for each in read["recent"])
    assert ("blocks", stall.ms) in [(each["function"], each["ms"]) for each in read["recent"]]
    assert read["lag"]["recent"]["longest_s"] > 0.1


def stretch(held_s: float) -> Stretch:
    made = Stretch("somebody", 0.0)
    made.sample(1.0, [sys._getframe()], lambda frames: ("", ""))
    made.held_s = held_s
    return made


def test_one_that_lasts_is_one_and_others_may_come_meanwhile():
    record = Record()
    lasting = stretch(5.0)
    record.add(lasting)
    lasting.logged = True
    record.add(stretch(0.2))  # of another loop
    lasting.held_s = 9.0
    record.add(lasting)
    assert [stall.ms for stall in record.recent()] == [200.0, 9000.0]
    assert record.stalls.count == 2
    assert record.stalls.longest_ms == 9000.0


def test_only_the_last_are_kept():
    record = Record()
    for number in range(RECENT + 5):
        record.add(stretch(number))
    assert record.recent()[0].ms == (RECENT + 4) * 1000
    assert len(record.recent()) == RECENT
    assert record.stalls.count == RECENT + 5
