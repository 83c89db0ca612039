"""Jobs in this process: a stage for them, and nothing of them after the test."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from onloop.tasks import home, ownloop


@pytest.fixture
def stage():
    from tests.tasks import jobs

    jobs.stage.__init__()
    yield jobs.stage
    jobs.stage.go.set()
    ownloop.end_own_loop(0)


@pytest.fixture
async def jobs(db_clean, stage):
    """The module of tasks; the loop's jobs are ended afterwards."""
    from tests.tasks import jobs

    yield jobs
    stage.go.set()
    await home.drain_loop(asyncio.get_running_loop(), 0)


@pytest.fixture
def options():
    """`options(max_running=1)`: the options of the backend."""
    from django.test import override_settings

    with contextlib.ExitStack() as stack:

        def configure(**given):
            tasks = {
                "default": {
                    "BACKEND": "onloop.tasks.InProcessBackend",
                    "QUEUES": [],
                    "OPTIONS": given,
                }
            }
            stack.enter_context(override_settings(TASKS=tasks))

        yield configure


@pytest.fixture
def ended(stage):
    """`await ended(result)`: the result when the job has ended, refreshed."""

    async def ended_(result):
        async def fresh():
            await result.arefresh()
            return result.is_finished

        async with asyncio.timeout(90):
            while not await fresh():
                await asyncio.sleep(0.005)
        return result

    return ended_


@pytest.fixture
def settings_of_onloop():
    """`settings_of_onloop(ON_LOOP=[…])`: the setting ONLOOP."""
    from django.test import override_settings

    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(override_settings(ONLOOP=given))
