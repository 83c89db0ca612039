"""R20: names that clients choose. Each is saved below the root, or refused as a bad request."""

from __future__ import annotations

import os
import random

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import base, filesystem
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from onloop import files
from tests.asgi.conftest import project  # noqa: F401 - a fixture
from tests.project.library.models import Scan
from tests.reliability.findings import Findings, Found

CONTENT = b"hostile"
OUTSIDE = "outside"  # a folder beside the root


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
    names = [*dict.fromkeys([*traversals(), *absolutes(folder), *odd(), *mixed(60)])]
    assert len(names) >= 200
    return names


def judge(what, folder, saved, refused):
    """Everything is below the root, under the names that came back, and whole."""
    findings = Findings(f"R20, names {what}")
    findings.counts["names saved"] += len(saved)
    findings.counts["names refused"] += len(refused)
    found = {
        os.path.relpath(os.path.join(where, name), folder)
        for where, _, names in os.walk(folder)
        for name in names
    }
    expected = {os.path.join("site/media", name) for name in saved}
    for name in found:
        if not name.startswith("site/media/"):
            findings.add("outside of the root", name)
        elif name not in expected:
            findings.add("not where it was said to be", name)
        if (folder / name).read_bytes() != CONTENT:
            findings.add("not whole", name)
    for name in expected - found:
        findings.add("not there", name)
    findings.judge()
    assert saved
    assert refused


async def test_names_that_are_saved_directly(names, folder):
    saved, refused = [], []
    for name in names:
        try:
            saved.append(await files.storage().asave(name, ContentFile(CONTENT)))
        except SuspiciousFileOperation:
            refused.append(name)
    judge("directly", folder, saved, refused)


async def test_names_that_are_looked_for(names, folder):
    evil = folder / OUTSIDE / "evil"
    evil.write_bytes(CONTENT)
    storage = files.storage()
    for name in names:
        for method in (storage.aexists, storage.asize, storage.aopen, storage.adelete):
            try:
                found = await method(name)
            except (SuspiciousFileOperation, OSError):
                continue
            except ValueError:  # Django's, of delete()
                assert not name
                continue
            assert found in {None, False, True} or (method == storage.asize and found)
    assert evil.read_bytes() == CONTENT


async def test_names_of_a_fields_files(names, folder, db_clean):
    saved, refused = [], []
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
            except SuspiciousFileOperation:
                refused.append(name)
            else:
                saved.append(scan.file.name)
    judge("of a field", folder, saved, refused)
    assert await Scan.objects.acount() == len(saved)
    assert {scan.file.name async for scan in Scan.objects.all()} == set(saved)


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
    saved, refused = [], []
    for name in names:
        answer = await project.post(
            "/upload/", form(name, encoded=encoded), headers=[content_type]
        )
        assert answer.status in {200, 400}, name
        if answer.status == 200:
            saved.append(answer.text)
        else:
            refused.append(name)
    judge("of uploads", folder, saved, refused)


# --- the harness finds what is broken on purpose ----------------------------------------------


async def test_a_storage_that_does_not_look_at_names_is_found(folder, monkeypatch):
    monkeypatch.setattr(filesystem, "safe_join", os.path.join)
    monkeypatch.setattr(base, "validate_file_name", lambda name, **options: name)
    harmless = [f"{folder}/{OUTSIDE}/evil", "good"]  # a folder of this test's own
    with pytest.raises(Found) as caught:
        await test_names_that_are_saved_directly(harmless, folder)
    assert caught.value.kinds["outside of the root"]
