"""A host that fails is left alone for a while."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from onloop import http
from onloop.http.circuits import REMEMBERED, Circuits
from tests.db.eventually import eventually

pytestmark = pytest.mark.usefixtures("closing", "configure")


async def fail(upstream, times, path="status/500"):
    for _ in range(times):
        await http.client().get(f"{upstream.url}/{path}")


@pytest.fixture
def three(configure):
    configure(RETRIES=0, CIRCUIT_FAILURES=3, CIRCUIT_RESET=600)


async def test_after_failures_in_a_row_the_host_is_not_asked(upstream, three):
    await fail(upstream, 3)
    with pytest.raises(http.CircuitOpen) as caught:
        await http.client().get(f"{upstream.url}/ok")
    assert len(upstream.requests) == 3
    assert caught.value.host == f"127.0.0.1:{upstream.port}"
    assert 500 < caught.value.retry_in_s <= 600
    assert "failed 3 times in a row; it is tried again in" in str(caught.value)


async def test_an_answer_in_between_begins_the_count_anew(upstream, three):
    for _ in range(3):
        await fail(upstream, 2)
        assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


@pytest.mark.parametrize("path", ["drop", "cut", "hang", "stuck"])
async def test_broken_connections_and_bodies_count(upstream, configure, path):
    configure(RETRIES=0, CIRCUIT_FAILURES=2, READ_TIMEOUT=0.03)
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            await http.client().get(f"{upstream.url}/{path}")
    with pytest.raises(http.CircuitOpen):
        await http.client().get(f"{upstream.url}/ok")


async def test_answers_that_blame_the_caller_do_not(upstream, three):
    await fail(upstream, 5, "status/404")
    await fail(upstream, 5, "status/429")
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


async def test_other_hosts_are_asked_as_ever(upstream, three):
    await fail(upstream, 3)
    elsewhere = upstream.url.replace("127.0.0.1", "localhost")
    assert (await http.client().get(f"{elsewhere}/ok")).text == "ok"


async def test_a_circuit_that_is_open_is_not_tried_again(upstream, configure):
    configure(RETRIES=5, CIRCUIT_FAILURES=3, CIRCUIT_RESET=600)
    with pytest.raises(http.CircuitOpen):
        await http.client().get(f"{upstream.url}/status/503")
    assert len(upstream.requests) == 3


async def test_0_is_never(upstream, configure):
    configure(RETRIES=0, CIRCUIT_FAILURES=0)
    await fail(upstream, 30)
    assert len(upstream.requests) == 30


async def test_one_request_tries_the_host_and_its_success_lets_all_go(upstream, configure):
    configure(RETRIES=0, CIRCUIT_FAILURES=1, CIRCUIT_RESET=0.01)
    await fail(upstream, 1)
    await asyncio.sleep(0.02)
    probe = asyncio.create_task(http.client().get(f"{upstream.url}/hold"))
    await eventually(lambda: upstream.under_way == 1)
    with pytest.raises(http.CircuitOpen, match="by another request right now"):
        await http.client().get(f"{upstream.url}/ok")
    upstream.release()
    assert (await probe).text == "held"
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


async def test_a_probe_that_is_cancelled_leaves_its_turn_to_another(upstream, configure):
    configure(RETRIES=0, CIRCUIT_FAILURES=1, CIRCUIT_RESET=0.01)
    await fail(upstream, 1)
    await asyncio.sleep(0.02)
    probe = asyncio.create_task(http.client().get(f"{upstream.url}/hold"))
    await eventually(lambda: upstream.under_way == 1)
    probe.cancel()
    await asyncio.wait({probe})
    assert (await http.client().get(f"{upstream.url}/ok")).text == "ok"


# --- by itself ------------------------------------------------------------------------------


def opened(most=3):
    circuits = Circuits(most, 10)
    for _ in range(most):
        circuits.failed(circuits.begin("a", 0), 0)
    return circuits


def test_a_probe_that_fails_opens_it_again_for_the_whole_time():
    circuits = opened()
    with pytest.raises(http.CircuitOpen):
        circuits.begin("a", 9)
    circuits.failed(circuits.begin("a", 10), 12)
    with pytest.raises(http.CircuitOpen):
        circuits.begin("a", 21)
    circuits.begin("a", 22)


def test_a_probe_whose_body_breaks_opens_it_again():
    circuits = opened()
    probe = circuits.begin("a", 10)
    circuits.answered(probe)
    other = circuits.begin("a", 10)  # others may go already
    circuits.failed(probe, 11)
    with pytest.raises(http.CircuitOpen):
        circuits.begin("a", 12)
    circuits.succeeded(other)
    with pytest.raises(http.CircuitOpen):  # it began before
        circuits.begin("a", 12)


def test_those_that_began_before_do_not_make_it_longer():
    circuits = Circuits(1, 10)
    attempts = [circuits.begin("a", 0) for _ in range(3)]
    for number, attempt in enumerate(attempts):
        circuits.failed(attempt, number * 5)
    circuits.begin("a", 10)


def test_a_failure_counts_once():
    circuits = Circuits(2, 10)
    attempt = circuits.begin("a", 0)
    circuits.failed(attempt, 0)
    circuits.failed(attempt, 0)
    circuits.succeeded(attempt)
    circuits.begin("a", 0)
    circuits.failed(circuits.begin("a", 0), 0)
    with pytest.raises(http.CircuitOpen):
        circuits.begin("a", 0)


def test_hosts_without_end_are_forgotten():
    circuits = Circuits(2, 10)
    for number in range(REMEMBERED + 100):
        circuits.failed(circuits.begin(str(number), 0), 0)
        circuits.succeeded(circuits.begin(f"good {number}", 0))
    assert len(circuits._hosts) == REMEMBERED
