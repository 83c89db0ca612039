"""A row whose tests hold and find what they have planted; `ONLOOP_PLANTED` chooses an end."""

import os
import time

import pytest

from tests.reliability.findings import Findings, Found
from tests.reliability.scale import SEEDS, size

PLANTED = os.environ.get("ONLOOP_PLANTED", "")


def test_one_that_holds(db_clean):
    findings = Findings("R99")
    findings.counts["units"] += size(10, full=1000)
    findings.counts["seeds"] += len(SEEDS)
    findings.measured["longest wait s"] = 0.5
    findings.judge()


@pytest.mark.only_on("postgresql")
def test_one_that_is_about_another_database(db_clean):
    pass


def test_one_that_finds_what_is_planted_is_found(db_clean):
    findings = Findings("R99, with a fault")
    findings.counts["units"] += 7
    findings.add("slot lost", "planted")
    with pytest.raises(Found):
        findings.judge()


@pytest.mark.skipif(PLANTED != "fault", reason="another end")
def test_one_that_finds_a_fault(db_clean):
    findings = Findings("R99")
    findings.add("slot lost", "once")
    findings.add("slot lost", "twice")
    findings.judge()


@pytest.mark.skipif(PLANTED != "fault", reason="another end")
def test_one_that_fails(db_clean):
    assert 1 + 1 == 3, "arithmetic"


def test_the_last(db_clean):
    if PLANTED == "crash":
        os.abort()
    if PLANTED == "exit":
        os._exit(2)
    if PLANTED == "hang":
        time.sleep(60)
