"""Durations of the last minute, and of all time; the clock is in the test's hand."""

from __future__ import annotations

import random
import threading

import pytest

from onloop.metrics import BOUNDS_S, Window
from onloop.metrics.window import SLOT_S, SLOTS

NOW = 10_000.0


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setattr("onloop.metrics.window.time.monotonic", lambda: NOW - 1000)
    return Window()


def test_bounds_ascend_and_have_the_round_ones():
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
    assert {0.001, 0.0025, 0.005, 0.01, 0.1, 0.25, 1.0, 2.5, 10.0} <= set(BOUNDS_S)


def test_percentiles_are_right_within_their_bucket(window):
    rng = random.Random(7)
    values = sorted(rng.lognormvariate(-4, 1) for _ in range(5000))
    for value in values:
        window.add(value, NOW)
    recent = window.read(NOW)["recent"]
    for percent in (50, 95, 99):
        exact = values[len(values) * percent // 100 - 1]
        assert abs(recent[f"p{percent}_s"] - exact) / exact < 0.27
    assert recent["longest_s"] == values[-1]


def test_one_value_is_every_percentile(window):
    window.add(0.3, NOW)
    recent = window.read(NOW)["recent"]
    assert recent["count"] == 1
    assert 0.25 < recent["p50_s"] <= recent["p95_s"] <= recent["p99_s"] <= 0.3
    assert recent["longest_s"] == 0.3


@pytest.mark.parametrize("took_s", [0.0, 0.0001, 100.0, 100_000.0])
def test_what_is_beyond_the_bounds_counts(window, took_s):
    window.add(took_s, NOW)
    read = window.read(NOW)
    assert read["count"] == sum(read["buckets"]) == 1
    assert read["recent"]["p99_s"] <= took_s
    assert len(read["buckets"]) == len(BOUNDS_S) + 1


def test_the_last_minute_goes_by_and_the_total_stays(window):
    for second in range(0, 600, 10):
        window.add(0.5, NOW + second)
    read = window.read(NOW + 590)
    assert read["count"] == 60
    assert read["total_s"] == 30.0
    assert read["recent"]["count"] == 6
    assert 0.09 < read["recent"]["per_s"] < 0.11
    later = window.read(NOW + 590 + SLOT_S * SLOTS)
    assert later["recent"] == {
        "count": 0, "per_s": 0.0, "p50_s": None, "p95_s": None, "p99_s": None,
        "longest_s": None,
    }  # fmt: skip
    assert later["count"] == 60


def test_after_a_long_rest_nothing_old_is_recent(window):
    window.add(9.0, NOW)
    window.add(0.1, NOW + 100_000)
    recent = window.read(NOW + 100_000)["recent"]
    assert (recent["count"], recent["longest_s"]) == (1, 0.1)


def test_threads_that_add_and_one_that_reads_agree_at_the_end(window):
    def add():
        for number in range(2000):
            window.add(0.01, NOW + number % 3 * SLOT_S)  # also into a slot that is over
            if number % 100 == 0:
                window.read(NOW + 10)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = window.read(NOW + 10)
    # Counted without a lock: a few may be lost, none is made up.
    assert 7900 <= read["count"] <= 8000
    assert len(window._slots) == 3
