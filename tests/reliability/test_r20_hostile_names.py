"""R20: names that clients choose. Each is saved below the root, or refused as a bad request.

The figure is 200 names; the short form has all that have a purpose and 60 put together by
chance, the full form 600 of those.
"""

from __future__ import annotations

import os
import random

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from onloop import files
from tests.asgi.conftest import project  # noqa: F401 - a fixture
from tests.project.library.models import Scan
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size

pytestmark = pytest.mark.timeout(LONG_S)

CONTENT = b"hostile"
OUTSIDE = "outside"  # a folder beside the root
# The others are where a name has a file for a folder, as in Django.
REFUSALS = (SuspiciousFileOperation, FileExistsError, NotADirectoryError)


def traversals():
    target = f"{OUTSIDE}/evil"
    for up in ("../", "..\\", "..//", "..%2f", "%2e%2e/", "..%252f", "..;/", "....//", ".../"):
        for depth in (1, 2, 4):
            yield up * depth + target
            yield "a/" + up * depth + target
            yield up * depth + "etc/passwd"
    yield from ("..", ".", "../", "./", "a/..", "a/.", "/..", "a/../../" + target)
    yield from (
        "\u2025/evil",
        "\uff0e\uff0e/evil",
        "..\u2215evil",
        "..\u2044evil",
        "..\\..\\evil",
    )


def absolutes(folder):
    evil = f"{folder}/{OUTSIDE}/evil"
    yield from (evil, "/" + evil, "//" + evil, "file://" + evil, "\\" + evil, "C:" + evil)
    yield from (
        "C:\\evil",
        "C:evil",
        "\\\\server\\share\\evil",
        "//server/share",
        "~/evil",
        "~root",
    )


def odd():
    for number in (0, 1, 7, 8, 9, 10, 13, 27, 31, 127, 128, 0x85, 0xA0, 0xAD):
        yield f"a{chr(number)}b.txt"
        yield chr(number)
    yield from (
        "a\0.txt",
        "a.txt\0.png",
        "\0",
        "a\r\nX-Evil: 1",
        'a"b',
        "a;b",
        "a'b",
        "$(id)",
        "`id`",
    )
    yield from ("\ud800", "a\udcffb.txt", "\udfff.txt", "a\ud83d.png")  # halves of characters
    yield from (
        "\u202egnp.exe",
        "e\u0301",
        "\ufeffa",
        "\u200b",
        "\u2028",
        "🙂",
        "é" * 90,
        "文" * 90,
    )
    yield from (
        "",
        " ",
        "   ",
        ".",
        "...",
        ".hidden",
        "a.",
        "a..",
        "a. . .",
        " a ",
        "-rf",
        "--",
        "*",
    )
    yield from ("CON", "nul", "AUX.txt", "COM1", "LPT9.tar.gz", "PRN ", "CLOCK$", "a:stream")
    for length in (99, 100, 101, 200, 254, 255, 256, 1000, 5000):
        yield "x" * length
        yield "x" * length + ".txt"
        yield "a." + "x" * length
        yield "文" * length + ".txt"
        yield "a/" * (length // 2) + "b"


def mixed(count):
    """Pieces of the above in any order; the same ones in each run."""
    pieces = [
        "..",
        "/",
        "\\",
        ".",
        "%2f",
        "%00",
        "\0",
        " ",
        "a",
        "é",
        "\udc80",
        ":",
        "~",
        "\n",
        "CON",
    ]
    chance = random.Random(20)
    for _ in range(count):
        yield "".join(chance.choices(pieces, k=chance.randint(1, 8)))


@pytest.fixture
def folder(tmp_path):
    """The root `site/media`, with an `outside` on each level above it."""
    for level in ("", "site", "site/media"):
        (tmp_path / level / OUTSIDE).mkdir(parents=True)
    media, uploads = tmp_path / "site" / "media", tmp_path / "uploads"
    uploads.mkdir()
    with override_settings(MEDIA_ROOT=str(media), FILE_UPLOAD_TEMP_DIR=str(uploads)):
        yield tmp_path


@pytest.fixture
def names(folder):
    names = [
        *dict.fromkeys([*traversals(), *absolutes(folder), *odd(), *mixed(size(60, full=600))])
    ]
    assert len(names) >= 200
    return names


class Names:
    """What became of the names: saved under another, or refused; and what is on the disk."""

    def __init__(self, way, folder):
        self.findings = Findings(f"R20, names {way}")
        self.saved = []
        self._folder = folder

    def refused(self):
        self.findings.counts["refused"] += 1

    def judge(self):
        """Everything is below the root, under the names that came back, and whole."""
        self.findings.counts["saved"] = len(self.saved)
        found = {
            os.path.relpath(os.path.join(where, name), self._folder)
            for where, _, names in os.walk(self._folder)
            for name in names
        }
        told = {os.path.join("site/media", name) for name in self.saved}
        for name in found - told:
            inside = name.startswith("site/media/")
            self.findings.add(
                "file that nobody told of" if inside else "outside the root", name
            )
        for name in told - found:
            self.findings.add("file is missing", name)
        for name in found & told:
            if (self._folder / name).read_bytes() != CONTENT:
                self.findings.add("file is not whole", name)
        self.findings.judge()
        assert self.saved
        assert self.findings.counts["refused"]


async def save_directly(names, folder):
    seen = Names("that are saved directly", folder)
    for name in names:
        try:
            seen.saved.append(await files.storage().asave(name, ContentFile(CONTENT)))
        except REFUSALS:
            seen.refused()
    seen.judge()


async def test_names_that_are_saved_directly(names, folder):
    await save_directly(names, folder)


async def look_for(names, folder):
    findings = Findings("R20, names that are looked for")
    evil = folder / OUTSIDE / "evil"
    evil.write_bytes(CONTENT)
    storage = files.storage()
    for name in names:
        for method in (storage.aexists, storage.asize, storage.aopen, storage.adelete):
            findings.counts["looks"] += 1
            try:
                found = await method(name)
            except (SuspiciousFileOperation, OSError):
                findings.counts["refused"] += 1
                continue
            except ValueError:  # Django's, of delete()
                if name:
                    findings.add("exception", repr(name))
                continue
            if found not in {None, False, True} and not (method == storage.asize and found):
                await found.aclose()
                findings.add("opened", repr(name))
    if not evil.exists() or evil.read_bytes() != CONTENT:
        findings.add("outside the root", "a file was deleted")
    findings.judge()


async def test_names_that_are_looked_for(names, folder):
    await look_for(names, folder)


async def test_names_of_a_fields_files(names, folder, db_clean):
    seen = Names("of a field", folder)
    for name in names:
        for way in ("asave of the field", "asave of the model"):
            scan = Scan()
            try:
                if way == "asave of the field":
                    await scan.file.asave(name, ContentFile(CONTENT))
                elif name:  # without a name there is no file to save
                    scan.file = ContentFile(CONTENT, name=name)
                    await scan.asave()
                else:
                    continue
            except REFUSALS:
                seen.refused()
            else:
                seen.saved.append(scan.file.name)
    rows = {scan.file.name async for scan in Scan.objects.all()}
    if rows != set(seen.saved):
        seen.findings.add("row", rows ^ set(seen.saved))
    seen.judge()


@csrf_exempt
async def upload(request):
    if "file" not in request.FILES:
        return HttpResponse("no file", status=400)
    scan = Scan(file=request.FILES["file"])
    await scan.asave()
    return HttpResponse(scan.file.name)


urlpatterns = [path("upload/", upload)]


def form(name, *, encoded):
    if encoded:
        quoted = "".join(f"%{byte:02x}" for byte in name.encode(errors="surrogatepass"))
        header = f"filename*=UTF-8''{quoted}".encode()
    else:
        header = b'filename="' + name.encode(errors="surrogatepass") + b'"'
    return (
        b'--limit\r\nContent-Disposition: form-data; name="file"; ' + header
        + b"\r\nContent-Type: text/plain\r\n\r\n" + CONTENT + b"\r\n--limit--\r\n"
    )  # fmt: skip


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "on the disk"])
@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "encoded"])
async def test_names_of_uploads(names, folder, project, in_memory, encoded):  # noqa: F811
    project.configure(FILE_UPLOAD_MAX_MEMORY_SIZE=2**20 if in_memory else 0)
    content_type = ("content-type", "multipart/form-data; boundary=limit")
    seen = Names("of uploads", folder)
    for name in names:
        answer = await project.post(
            "/upload/", form(name, encoded=encoded), headers=[content_type]
        )
        if answer.status == 200:
            seen.saved.append(answer.text)
        elif answer.status == 400:
            seen.refused()
        else:
            seen.findings.add(f"status {answer.status}", repr(name))
    seen.judge()


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.fixture
def careless(monkeypatch):
    """A storage that believes every name."""
    monkeypatch.setattr(
        FileSystemStorage, "path", lambda self, name: os.path.join(self.location, name)
    )
    monkeypatch.setattr(
        FileSystemStorage, "get_available_name", lambda self, name, max_length=None: name
    )
    monkeypatch.setattr(
        "django.core.files.storage.base.validate_file_name", lambda name, **kwargs: name
    )


async def test_a_name_that_leaves_the_root_is_found(folder, careless):
    with pytest.raises(Found) as caught:
        await save_directly([f"../../{OUTSIDE}/evil"], folder)
    assert "outside the root" in caught.value.kinds


async def test_a_file_outside_that_can_be_had_is_found(folder, careless):
    with pytest.raises(Found) as caught:
        await look_for([f"../../{OUTSIDE}/evil"], folder)
    assert set(caught.value.kinds) == {"opened", "outside the root"}
