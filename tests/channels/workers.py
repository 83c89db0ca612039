"""`manage.py runworker` in a process of its own, on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.channels.conftest import DEADLINE_S
from tests.db.eventually import eventually
from tests.postgres import ROOT
from tests.servers import APPLICATION_NAME

HOOKS = ["tests.project.sockets.jobs.noted"]


class WorkerProcess:
    """`async with WorkerProcess(layer, folder) as worker:`, which has begun to listen."""

    def __init__(self, layer: dict[str, Any], folder: Path, **onloop: Any) -> None:
        self._layer = layer
        self._onloop = {"LIFESPAN": HOOKS, **onloop}
        self._log = folder / f"worker-{id(self)}.log"

    async def __aenter__(self) -> WorkerProcess:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "runworker", "jobs", "sync-jobs"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.project.worker_settings",
                    "ONLOOP_TEST_LAYER": json.dumps(self._layer),
                    "ONLOOP_TEST_ONLOOP": json.dumps(self._onloop),
                    "PGAPPNAME": APPLICATION_NAME,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self._onloop["LIFESPAN"] == HOOKS:
            await self.says("begins with")
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return self._log.read_text()

    async def says(self, text: str, count: int = 1) -> None:
        def said() -> bool:
            return self.log().count(text) >= count or self.process.poll() is not None

        with contextlib.suppress(AssertionError):  # it was not in time
            await eventually(said)
        assert self.log().count(text) >= count, f"{text!r} is not in:\n{self.log()}"

    async def ends(self) -> int:
        return await asyncio.to_thread(self.process.wait, DEADLINE_S)
