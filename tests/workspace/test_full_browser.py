"""What people do in browsers, once more on the full set-up: PostgreSQL, Redis, a Celery worker,
and two web processes, between which the kernel chooses.

These are the tests of the example's parts, which run there on one process.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Browser, expect

from tests.redis import executable as redis_executable
from tests.workspace.browser import executable as browser_executable
from tests.workspace.browser import person
from tests.workspace.test_accounts_browser import (
    test_somebody_signs_up_and_hears_of_a_new_role as test_sign_up,
)
from tests.workspace.test_demo_full import Demo
from tests.workspace.test_files_browser import (
    test_an_upload_shows_how_far_it_is_and_can_be_stopped as test_upload,
)
from tests.workspace.test_jobs_browser import (
    test_an_import_is_followed_live_cancelled_and_begun_anew as test_job,
)
from tests.workspace.test_operations_browser import (
    test_charts_and_tables_move_under_load as test_operations,
)
from tests.workspace.test_rooms_browser import (
    test_a_browser_that_is_offline_says_so_and_sends_later as test_network,
)
from tests.workspace.test_rooms_browser import test_two_people_talk as test_talk
from tests.workspace.test_shop_browser import (
    test_two_browsers_order_the_last_item_at_once as test_last_item,
)
from tests.workspace.test_talk_browser import GENERAL
from tests.workspace.works import PAUSE

__all__ = [
    "test_job",
    "test_last_item",
    "test_network",
    "test_operations",
    "test_sign_up",
    "test_talk",
    "test_upload",
]

# Against hanging. The first makes a database and fills it.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def running() -> Iterator[Demo]:
    redis_executable()  # or the tests are skipped
    browser_executable()
    folder = Path(tempfile.mkdtemp(prefix="onloop-full-browser-"))
    folder.chmod(0o711)  # PostgreSQL's own user gets in, if this is root
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOBS_PAUSE", PAUSE)
        demo = Demo(folder)
    yield demo
    assert demo.end(signal.SIGTERM) == 0, demo.output
    demo.is_gone()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def asgi_server(running: Demo) -> Iterator[Demo]:
    yield running
    # These tell their operator that Redis was away.
    expected = ('"logger": "celery.', '"logger": "onloop.rooms"', '"logger": "onloop.channels"')
    lines = [line for line in running.output.splitlines() if "Traceback" in line]
    assert [line for line in lines if not any(name in line for name in expected)] == []


async def test_two_go_on_talking_when_their_processes_are_killed(
    browser: Browser, asgi_server: Demo
) -> None:
    """First those of the service, then Redis: each is started again."""
    url = asgi_server.url
    async with (
        person(browser, "demo", url, GENERAL) as demo,
        person(browser, "robin", url, GENERAL) as robin,
    ):
        said: list[str] = []
        children = psutil.Process(asgi_server.process.pid).children()
        redis = [child for child in children if "redis-server" in child.name()]
        for name, processes in (("the service", asgi_server.part("web")), ("Redis", redis)):
            assert processes
            for process in processes:
                process.kill()
            said += [f"Is {name} there?", f"Yes, {name} is there."]
            await robin.say(said[-2])
            await expect(demo.message(said[-2])).to_be_visible()
            await demo.say(said[-1])
            for somebody in (demo, robin):
                await somebody.sees(*said)
                await expect(somebody.banner).to_be_hidden()
