"""R20, its second half: 1,000 uploads that are cut off leave no partial file.

The short form cuts 120. Hostile names are in `tests/reliability/test_r20_hostile_names.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpResponse
from django.urls import path

import onloop
from onloop.testing import LeakLedger
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size
from tests.security.attacker import FORM, Attack

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(120, full=1_000)
AT_ONCE = 20
FILE = b'--b\r\nContent-Disposition: form-data; name="f%d"; filename="f"\r\n\r\n'


def receives(request):
    return HttpResponse(str(len(request.FILES)))


async def receives_async(request):
    return HttpResponse(str(len(await request.afiles())))


urlpatterns = [
    path("thread/", receives),
    path("async/", receives_async),
    path("loop/", onloop.on_loop(partial(receives))),
]


class CutOff(Attack):
    """Sends three files, and leaves or is cancelled after so many of the messages."""

    def __init__(self, application, chance):
        where = chance.choice(["thread", "async", "loop"])
        super().__init__(application, f"/{where}/", self._files, headers=FORM)
        self._cut = chance.randrange(1, 40)
        self._cancels = chance.choice([0, 1, 2])
        self._messages = 0
        self.task = None
        self.cut = False

    @staticmethod
    def _files():
        for number in range(3):
            yield FILE % number
            for _ in range(10):
                yield os.urandom(30_000)
            yield b"\r\n"
        yield b"--b--\r\n"

    async def _receive(self):
        self._messages += 1
        if self._messages < self._cut:
            return await super()._receive()
        self.cut = True
        for _ in range(self._cancels):
            self.task.cancel()
            await asyncio.sleep(0)
        if self._cancels:
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def run(self):
        self.task = asyncio.current_task()
        return await super().run()


async def cut_off(app, uploads, count):
    """Cut off that many uploads, and judge what is left; returns the findings."""
    findings = Findings("R20, uploads")
    chance = random.Random(20)
    for _ in range(count // AT_ONCE):
        attacks = [CutOff(app, chance) for _ in range(AT_ONCE)]
        tasks = [asyncio.create_task(attack.run()) for attack in attacks]
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                findings.add("exception", repr(task.exception()))
        findings.counts["uploads"] += AT_ONCE
        findings.counts["cut off"] += sum(attack.cut for attack in attacks)
        for file in uploads.iterdir():
            findings.add("file left", file.name)
            file.unlink()
    findings.judge()
    return findings


async def test_an_upload_that_is_cut_off_leaves_no_file(application, uploads):
    app = application()
    async with LeakLedger(temp_folder=uploads, databases=[]):
        findings = await cut_off(app, uploads, COUNT)
    assert findings.counts["cut off"] > COUNT * 0.7


class Forgetful(TemporaryFileUploadHandler):
    """As if it were never told that the upload was interrupted."""

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.copy = Path(f"{self.file.temporary_file_path()}.partial")
        self.copy.touch()

    def file_complete(self, file_size):
        self.copy.unlink()
        return super().file_complete(file_size)


async def test_a_handler_that_leaves_files_is_found(application, uploads):
    app = application(FILE_UPLOAD_HANDLERS=[f"{__name__}.Forgetful"])
    with pytest.raises(Found) as caught:
        await cut_off(app, uploads, AT_ONCE)
    assert set(caught.value.kinds) == {"file left"}


async def test_an_upload_that_is_not_interrupted_is_found(application, uploads, monkeypatch):
    """As if nobody told the handlers; the files go with the garbage, some time later."""
    kept = []
    monkeypatch.setattr("onloop.asgi.request._do_all", kept.append)
    with pytest.raises(Found) as caught:
        await cut_off(application(), uploads, 2 * AT_ONCE)
    assert "file left" in caught.value.kinds
    for step in chain.from_iterable(kept):
        step()
