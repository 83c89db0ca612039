"""The examples of `docs/files.md`, run as they stand there."""

from __future__ import annotations

import re
import types

import pytest
from django.core.files.base import ContentFile
from django.test import RequestFactory

from onloop import files
from tests.files.content import files_in
from tests.postgres import ROOT
from tests.project.library.models import Scan


def _page():
    """The names that the page's examples define."""
    text = (ROOT / "docs" / "files.md").read_text()
    page = types.SimpleNamespace()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        empty = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(empty + block[1], "docs/files.md", "exec"), vars(page))
    return page


page = _page()


async def test_the_lines_of_an_upload_are_counted():
    assert await page.count_lines(ContentFile(b"one\ntwo\n")) == 2


async def test_content_is_archived(media):
    found = await page.archive("a", ContentFile(b"x" * 200))
    assert found == ("archive/a", 200, b"x" * 100)


async def test_a_scan_is_replaced(media, db_clean):
    scan = await Scan.objects.acreate(file=ContentFile(b"first", name="first.pdf"))
    await page.replace_scan(scan, ContentFile(b"second"))
    assert files_in(media) == {"scans/scan.pdf": b"second"}
    assert (await Scan.objects.aget()).file.name == "scans/scan.pdf"


class Client:
    """An asynchronous client of a store that is a dictionary."""

    def __init__(self):
        self.kept = {}

    async def get(self, name):
        return self.kept[name]

    async def put(self, name, content):
        self.kept[name] = content

    async def has(self, name):
        return name in self.kept

    async def delete(self, name):
        del self.kept[name]


async def test_the_storage_over_an_asynchronous_client(db_clean, monkeypatch):
    bucket = page.BucketStorage(Client())
    monkeypatch.setattr(Scan._meta.get_field("file"), "storage", bucket)
    scan = await Scan.objects.acreate(file=ContentFile(b"first", name="a.pdf"))
    await page.replace_scan(scan, ContentFile(b"second"))
    assert bucket.client.kept == {"scans/scan.pdf": b"second"}
    async with scan.file:
        assert await scan.file.aread() == b"second"


@pytest.mark.parametrize(("header", "body"), [("", b"content"), ("bytes=1-2", b"on")])
async def test_a_file_is_downloaded(media, header, body):
    await files.storage().asave("a.txt", ContentFile(b"content"))
    request = RequestFactory().get("/", headers={"range": header})
    response = await page.download(request, "a.txt")
    assert b"".join(response) == body
    assert response["Content-Disposition"] == 'attachment; filename="a.txt"'
    response.close()


def test_the_figures_of_the_page():
    from onloop.files import ranges, threads, uploads

    text = (ROOT / "docs" / "files.md").read_text()
    assert f"{threads.WORKERS['disk']} threads a process for disks" in text
    assert f"{threads.WORKERS['remote']} for other storages" in text
    assert f"after {threads.FINISH_S:.0f} seconds" in text
    assert f"up to {uploads.WRITE_SIZE // 1024} KiB" in text
    assert f"written in threads, {uploads.WRITE_SIZE // 1024} KiB at a time" in text
    assert f"several, at most {ranges.MAX_RANGES}" in text
