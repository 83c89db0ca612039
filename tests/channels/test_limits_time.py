"""The one timer of a loop that ends sockets whose time is up."""

from __future__ import annotations

import asyncio
import logging
import weakref

import pytest

from onloop.channels import shutdown
from onloop.channels.counts import counts
from tests.channels.limited import closed_with, limited, setting
from tests.channels.played import Played
from tests.db.eventually import eventually


async def test_sockets_with_less_time_than_others_are_ended_in_theirs(db_clean, noted):
    with setting(IDLE_TIMEOUT=3600, CONSUMER_TIMEOUT=0):
        async with Played(limited()) as patient:
            await patient.until_sent("websocket.accept")
            with setting(IDLE_TIMEOUT=0.2):
                async with Played(limited()) as server:
                    await closed_with(server, 1008)
            assert not patient.task.done()
    assert noted("idle") == 1


async def test_a_loop_without_sockets_has_no_timer(db_clean, noted):
    """And has one again with the next socket, also if its time is longer."""
    for timeout_s in (0.2, 0.4):
        with setting(IDLE_TIMEOUT=timeout_s, CONSUMER_TIMEOUT=0):
            async with Played(limited()) as server:
                await closed_with(server, 1008)
            here = shutdown._of_running_loop()
            await eventually(lambda: here._looking is None)  # noqa: B023
    assert noted("idle") == 2


async def test_without_a_limit_there_is_no_timer(db_clean, noted):
    await eventually(lambda: shutdown._of_running_loop()._looking is None)
    with setting(IDLE_TIMEOUT=0, CONSUMER_TIMEOUT=0):
        async with Played(limited()) as server:
            await server.until_sent("websocket.accept")
            assert shutdown._of_running_loop()._looking is None


@pytest.mark.usefixtures("db_clean")
def test_a_loop_that_has_ended_is_not_kept():
    """By the timer that its last socket had."""

    async def visit() -> weakref.ref[asyncio.AbstractEventLoop]:
        with setting(IDLE_TIMEOUT=3600):
            async with Played(limited()) as server:
                await server.until_sent("websocket.accept")
        return weakref.ref(asyncio.get_running_loop())

    first = asyncio.run(visit())
    asyncio.run(visit())
    assert first() not in shutdown._loops


@pytest.fixture
async def failing_log():
    def fail(record):
        raise ConnectionError("of the log")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    counts._told_at.clear()
    logger = logging.getLogger("onloop.channels")
    logger.addFilter(fail)
    yield
    logger.removeFilter(fail)


async def test_an_error_about_one_socket_does_not_keep_the_others_open(
    db_clean, noted, failing_log
):
    with setting(IDLE_TIMEOUT=0.2):
        async with Played(limited()) as one, Played(limited()) as two:
            await closed_with(one, 1008)
            await closed_with(two, 1008)
    assert noted("idle") == 2
