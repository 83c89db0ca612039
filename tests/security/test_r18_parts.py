"""R18, its second half: 10,000 parts, base64, parts in parts, boundaries and bombs of headers.

The answer is 400 or 413 (or 200 where nothing is wrong with it), memory stays within Django's
limit for forms and 1 MiB, and work is linear. Files of the full form go to a handler that
counts them, so that no disk is filled; up to 100 MiB (full: 1 GiB) go to the disk as well.
"""

from __future__ import annotations

from functools import partial

import pytest
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import JsonResponse
from django.http.multipartparser import MultiPartParser
from django.urls import path

import onloop
from onloop.asgi.request import OnloopRequest
from tests.reliability.findings import Found
from tests.reliability.scale import LONG_S, size
from tests.security.attacker import FORM, Attack, endless, multipart
from tests.security.siege import KIB, MIB, Siege

pytestmark = pytest.mark.timeout(LONG_S)

# Bytes: DATA_UPLOAD_MAX_MEMORY_SIZE. Django's parser puts a field together from its pieces, and
# has both for a moment.
FIELDS_KEEP = 2 * 2_621_440
PIECE = b"x" * 64 * KIB

DISPOSITION = b'--b\r\nContent-Disposition: form-data; name="a"'
FIELD = DISPOSITION + b"\r\n\r\n"
FILE = DISPOSITION + b'; filename="a"\r\n\r\n'
BASE64 = DISPOSITION + b'; filename="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
BASE64_FIELD = DISPOSITION + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
END = b"\r\n--b--\r\n"
MIXED = DISPOSITION + b"\r\nContent-Type: multipart/mixed; boundary=n\r\n\r\n"
INNER = b'--n\r\nContent-Disposition: file; filename="n"\r\n\r\nx\r\n'


class Counts(FileUploadHandler):
    """Takes files of any size and keeps nothing of them."""

    def receive_data_chunk(self, raw_data, start):
        return None

    def file_complete(self, file_size):
        return UploadedFile(name=self.file_name, size=file_size)


def form(request):
    return JsonResponse({
        "fields": sum(map(len, dict(request.POST.lists()).values())),
        "files": [file.size for file in request.FILES.getlist("a")],
    })  # fmt: skip


async def form_async(request):
    await request.afiles()
    return form(request)


urlpatterns = [
    path("async/", form_async),
    path("thread/", form),
    path("loop/", onloop.on_loop(partial(form))),
]


@pytest.fixture
def siege(application, uploads, request):
    """`await siege(**settings)`: an application that has made what it makes only once."""

    async def make(**settings):
        app = application(**settings)
        for address in ("/async/", "/thread/", "/loop/"):
            for part in (FIELD, FILE, BASE64, MIXED):
                await Attack(app, address, lambda part=part: iter([part, b"QQ==" + END]),
                             headers=FORM).run()  # fmt: skip
        return Siege(request.node.name, app)

    return make


# --- long files -------------------------------------------------------------------------------


async def files_of_any_length(siege, megabytes):
    count = megabytes * MIB // len(PIECE)
    for name, part, piece in (("plain", FILE, PIECE), ("base64", BASE64, b"QUJD" * 16 * KIB)):
        body = partial(_joined, part, piece, count)
        attack = Attack(siege.application, "/async/", body, headers=FORM)
        await siege.run(f"{megabytes} MiB, {name}", attack, statuses=[200])
        wanted = count * len(piece) * (3 if name == "base64" else 4) // 4
        if attack.text != f'{{"fields": 0, "files": [{wanted}]}}':
            siege.findings.add("wrong size", f"{name}: {attack.text}")
    siege.judge()


def _joined(part, piece, count):
    yield part
    yield from endless(piece, count)()
    yield END


async def test_files_of_any_length_that_a_handler_counts_take_no_memory(siege):
    megabytes = size(20, full=10_000)
    siege = await siege(
        FILE_UPLOAD_HANDLERS=[f"{__name__}.Counts"], ONLOOP={"MAX_BODY": 2 * megabytes * MIB}
    )
    await files_of_any_length(siege, megabytes)


async def test_files_on_the_disk_take_no_memory(siege):
    megabytes = size(20, full=1_000)
    await files_of_any_length(await siege(ONLOOP={"MAX_BODY": 2 * megabytes * MIB}), megabytes)


# --- many parts, and odd ones -----------------------------------------------------------------

PARTS = {
    "fields": FIELD + b"x\r\n",
    "files": FILE + b"x\r\n",
    "parts without a name": b"--b\r\n\r\nx\r\n",
    "base64 files": BASE64 + b"QUJD\r\n",
    "base64 fields": BASE64_FIELD + b"QUJD\r\n",
    "parts with parts": MIXED + INNER + b"--n--\r\n",
    "delimiters": b"--b\r\n",
    "ends": b"--b--\r\n",
    "parts with a long header": DISPOSITION + b"\r\nX: " + b"x" * 800 + b"\r\n\r\nx\r\n",
}
LIMITED = {"fields", "files", "parts without a name", "base64 files", "base64 fields",
           "parts with parts", "parts with a long header"}  # fmt: skip


async def many_parts(siege, count=10_000, parts=PARTS):
    """So many of each, in each place of a view; 400 where Django has a limit for them."""
    for number, (name, part) in enumerate(parts.items()):
        address = ["/async/", "/thread/", "/loop/"][number % 3]
        attack = Attack(
            siege.application, address, multipart(part * 100, count // 100), headers=FORM
        )
        statuses = [400] if name in LIMITED else [200, 400]
        await siege.run(name, attack, statuses=statuses, keeps=FIELDS_KEEP)
    attack = Attack(
        siege.application, "/async/", endless(b"a=1&" * 100, count // 100),
        headers=[(b"content-type", b"application/x-www-form-urlencoded")],
    )  # fmt: skip
    await siege.run("fields of a form", attack, statuses=[400], keeps=FIELDS_KEEP)
    siege.judge()


async def test_ten_thousand_parts_are_400(siege):
    await many_parts(await siege())


BOMBS = {
    # name: what comes first, what follows without an end, statuses, and what it may keep
    "a header without an end": (b"--b\r\nX: ", PIECE, [400], 0),
    "headers without an end": (b"--b\r\n", b"X: y\r\n" * 10_000, [400], 0),
    "a name without an end": (
        b'--b\r\nContent-Disposition: form-data; name="',
        PIECE,
        [400],
        0,
    ),
    "a preamble without an end": (b"", PIECE, [400], 0),
    "line breaks without an end": (b"", b"\r\n" * 30_000, [200, 400], 0),
    "a field without an end": (FIELD, PIECE, [400], FIELDS_KEEP),
    "a base64 field without an end": (BASE64_FIELD, b"QUJD" * 16 * KIB, [400], FIELDS_KEEP),
    "parts in a part without an end": (MIXED, INNER * 1_000, [400], FIELDS_KEEP),
    # Django 5.2 leaves out what is no base64.
    "what is no base64": (BASE64, b"\xff" * 64 * KIB, [200, 400], 0),
}


async def bombs(siege):
    for name, (first, piece, statuses, keeps) in BOMBS.items():
        count = 10 * MIB // len(piece)
        attack = Attack(
            siege.application, "/async/", multipart(piece, count, first), headers=FORM
        )
        await siege.run(name, attack, statuses=statuses, keeps=keeps)
    for name, length in (("boundary", 300), ("boundary of a megabyte", MIB)):
        # The header itself is the server's to limit; Django 5.2 takes it apart.
        kind = b"multipart/form-data; boundary=" + b"b" * length
        attack = Attack(
            siege.application, "/async/", endless(PIECE, 200),
            headers=[(b"content-type", kind)],
        )  # fmt: skip
        await siege.run(name, attack, statuses=[400], keeps=6 * length, takes=MIB)
    siege.judge()


async def test_what_has_no_end_is_400(siege):
    await bombs(await siege())


# --- linear work ------------------------------------------------------------------------------

# What is repeated, after what: all of it within the limits, so that it is parsed to its end.
GROWING = {
    "blanks in base64": (BASE64, b" " * 8 * KIB),
    "line breaks in base64": (BASE64, b"QUJD\r\n" * 1_000),
    "a file": (FILE, b"x" * 8 * KIB),
    "almost boundaries": (FILE, b"\r\n--a" * 1_000),
    "line breaks in a file": (FILE, b"\r\n" * 4_000),
    "hyphens in a file": (FILE, b"-" * 8 * KIB),
    "delimiters": (b"", b"--b\r\n" * 200),
    "ends": (b"", b"--b--\r\n" * 200),
}


async def growing(siege):
    count = size(8, full=400)
    for name, (first, piece) in GROWING.items():
        await siege.grows(
            name,
            lambda many, first=first, piece=piece: Attack(
                siege.application, "/loop/", partial(_joined, first, piece, many), headers=FORM
            ),
            count,
        )
    siege.judge()


UNLIMITED = {
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": None,
    "DATA_UPLOAD_MAX_NUMBER_FILES": None,
    "DATA_UPLOAD_MAX_MEMORY_SIZE": None,
}


async def test_a_form_is_parsed_in_linear_work(siege):
    await growing(await siege(ONLOOP={"MAX_BODY": 1_000 * MIB}, **UNLIMITED))


# --- the harness finds what is broken on purpose ----------------------------------------------


async def found(siege, harness, **settings):
    with pytest.raises(Found) as caught:
        await harness(await siege(**settings))
    return set(caught.value.kinds)


async def test_forms_without_limits_are_found(siege):
    assert "wrong answer" in await found(
        siege, partial(many_parts, count=300, parts={"files": PARTS["files"]}), **UNLIMITED
    )


async def test_a_body_that_is_kept_is_found(siege, monkeypatch):
    parse = OnloopRequest.parse_file_upload

    def careless(self, META, post_data):  # noqa: N803 - Django's name
        self.kept = post_data.read()
        return parse(self, META, post_data)

    monkeypatch.setattr(OnloopRequest, "parse_file_upload", careless)
    kinds = await found(siege, partial(files_of_any_length, megabytes=5))
    assert "memory" in kinds


async def test_work_that_grows_with_the_square_is_found(siege, monkeypatch):
    parse = MultiPartParser._parse

    def careless(self):
        seen = []
        while piece := self._input_data.read(KIB):
            seen.append(piece)
            for before in seen:
                len(before)
        return parse(self)

    monkeypatch.setattr(MultiPartParser, "_parse", careless)
    assert "work is not linear" in await found(siege, growing)
