"""The example's jobs in a Celery worker: the same pages, another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.db.eventually import eventually
from tests.redis import RedisServer
from tests.servers import AsgiServer
from tests.workspace.conftest import WORKSPACE, Starting
from tests.workspace.members import member
from tests.workspace.test_jobs import lines, product, some_sku
from tests.workspace.uploads import file_of, form, shown
from tests.workspace.works import PAUSE, begin, ended, page, post, streamed

# Jobs are tested on both, the worker on one.
pytestmark = pytest.mark.only_on("postgresql")


class Worker:
    """`celery -A workspace worker`, with Onloop's pool."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "workspace", "worker"),
                    *("--pool", "custom", "--concurrency", "10", "--loglevel", "INFO"),
                    *("--without-gossip", "--without-mingle"),
                ],
                cwd=WORKSPACE,
                env={
                    **os.environ,
                    **env,
                    "CELERY_CUSTOM_WORKER_POOL": "onloop.celery:TaskPool",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(90)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@pytest.fixture
def asgi_server(starting: Starting, redis_server: RedisServer) -> AsgiServer:
    return starting(CELERY_BROKER_URL=redis_server.url)


@pytest.fixture
def worker(
    workspace_env: dict[str, str], redis_server: RedisServer, tmp_path: Path
) -> Iterator[Worker]:
    log = tmp_path / "worker.log"
    running = Worker(
        {**workspace_env, "CELERY_BROKER_URL": redis_server.url, "JOBS_PAUSE": PAUSE}, log
    )
    yield running
    assert running.stop() == 0, log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


async def test_jobs_run_in_a_worker_and_are_cancelled_there(
    asgi_server: AsgiServer, worker: Worker
) -> None:
    async with member(asgi_server, "demo") as demo:
        skus = [some_sku() for _ in range(400)]
        address = await begin(demo, "import", lines(*(f"{sku},T,lamps,5,3," for sku in skus)))
        told = await streamed(demo, (await page(demo, address)).events)
        assert told[-1]["status"] == "SUCCESSFUL"
        done = await ended(demo, address)
        assert (done.state, done.counts["created"]) == ("done", 400)
        assert await product(demo, skus[0]) is not None

        name = some_sku()
        await form(demo, (name, b"content"))
        await shown(demo, await file_of(demo, name), "SHA-256")

        skus = [some_sku() for _ in range(20_000)]
        address = await begin(demo, "import", lines(*(f"{sku},T,lamps,5,3," for sku in skus)))

        async def has_begun() -> bool:
            return (await page(demo, address)).counts.get("created", 0) > 0

        await eventually(has_begun)
        assert (await post(demo, address, "cancel")).status_code == 302
        stopped = await ended(demo, address)
        assert stopped.state == "cancelled"
        assert 0 < stopped.counts["created"] < len(skus)
