"""The example's files over real sockets: uploads, downloads, and whose they are."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import PIL.Image
import pytest

from tests.servers import AsgiServer
from tests.workspace.members import DEADLINE_S, Member, member
from tests.workspace.uploads import bytes_in, file_of, form, items, send, shown

MIB = 1024 * 1024


@pytest.fixture
async def demo(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "demo") as somebody:
        yield somebody


@pytest.fixture
async def robin(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "robin") as somebody:
        yield somebody


@pytest.fixture
def media(workspace_env: dict[str, str]) -> Path:
    return Path(workspace_env["MEDIA_ROOT"])


def some_name(ending: str = "txt") -> str:
    return f"{uuid.uuid4().hex}.{ending}"


async def test_a_form_uploads_several_files_and_a_job_finds_their_checksums(
    demo: Member,
) -> None:
    # One in memory, and one that Django keeps on the disk meanwhile.
    contents = {some_name(): b"short", some_name("zip"): os.urandom(3 * MIB)}
    answer = await form(demo, *contents.items())
    assert (answer.status_code, answer.headers["location"]) == (302, "/files/")
    for name, content in contents.items():
        address = await file_of(demo, name)
        assert (await demo.client.get(address)).content == content
        await shown(demo, address, hashlib.sha256(content).hexdigest())


async def test_a_body_that_is_a_file_is_stored_as_it_comes(demo: Member) -> None:
    name, content = some_name(), os.urandom(2 * MIB)

    async def slowly() -> AsyncIterator[bytes]:  # without a length
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    answer = await send(demo, name, slowly())
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["name"], told["size"]) == (name, len(content))
    assert (await demo.client.get(f"/files/{told['id']}/")).content == content


async def test_a_file_is_downloaded_in_ranges_and_not_again_if_it_is_the_same(
    demo: Member,
) -> None:
    name, content = some_name(), os.urandom(200_000)
    await send(demo, name, content)
    address = await file_of(demo, name)
    whole = await demo.client.get(address)
    assert (whole.content, whole.headers["accept-ranges"]) == (content, "bytes")
    part = await demo.client.get(address, headers={"Range": "bytes=150000-"})
    assert (part.status_code, part.content) == (206, content[150_000:])
    assert part.headers["content-range"] == "bytes 150000-199999/200000"
    beyond = await demo.client.get(address, headers={"Range": "bytes=200000-"})
    assert beyond.status_code == 416
    again = await demo.client.get(address, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await demo.client.head(address)
    assert (head.headers["content-length"], head.content) == ("200000", b"")


async def test_nothing_that_is_uploaded_runs_in_a_browser(demo: Member) -> None:
    script = b"<script>alert(1)</script>"
    mark = uuid.uuid4().hex
    for name in (f"{mark}<script>.html", f"{mark}.svg", f"{mark}\"'.xml"):
        # `form` says that it is HTML, as an attacker would.
        assert (await form(demo, (name, script))).status_code == 302
    mine = {pk: text for pk, text in (await items(demo)).items() if mark in text}
    assert len(mine) == 3
    for pk, text in mine.items():
        assert "<script" not in text
        answer = await demo.client.get(f"/files/{pk}/")
        assert answer.content == script
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = await demo.client.get("/files/")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert page.headers["cache-control"] == "no-store"


def picture(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (width, height), "white").save(file, "PNG")
    return file.getvalue()


async def test_an_image_has_a_thumbnail_and_what_only_says_so_has_none(
    demo: Member, media: Path
) -> None:
    before = bytes_in(media)
    contents = {
        "real": picture(800, 400),
        "none": b"\x89PNG\r\n\x1a\n and no more",
        "large": picture(10_000, 5_001, "1"),  # it would take 200 MB
    }
    addresses = {}
    for kind, content in contents.items():
        name = some_name("png")
        await send(demo, name, content)
        addresses[kind] = await file_of(demo, name)
        about = await shown(demo, addresses[kind], "SHA-256")
        assert (f"{addresses[kind]}thumbnail/" in about) == (kind == "real")
    answer = await demo.client.get(f"{addresses['real']}thumbnail/")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert PIL.Image.open(io.BytesIO(answer.content)).size == (192, 96)
    assert (await demo.client.get(f"{addresses['none']}thumbnail/")).status_code == 404
    token = {"csrfmiddlewaretoken": demo.token}
    for address in addresses.values():
        assert (await demo.client.post(f"{address}delete/", data=token)).status_code == 302
    assert bytes_in(media) == before


async def test_files_are_for_their_owners(
    demo: Member, robin: Member, asgi_server: AsgiServer
) -> None:
    """Staff is no exception: `demo` may see the list in the admin, not what is in them."""
    name = some_name()
    await send(robin, name, b"robin's")
    address = await file_of(robin, name)
    assert name not in (await demo.client.get("/files/")).text
    for path in (address, f"{address}about/", f"{address}preview/"):
        assert (await demo.client.get(path)).status_code == 404
    other = f"{uuid.uuid4().hex}.txt"
    await send(demo, other, b"demo's")
    token = {"csrfmiddlewaretoken": robin.token}
    deleting = f"{await file_of(demo, other)}delete/"
    assert (await robin.client.post(deleting, data=token)).status_code == 404
    async with member(asgi_server, "robin") as stranger:
        del stranger.client.cookies["sessionid"]
        for path in ("/files/", address):
            answer = await stranger.client.get(path)
            assert answer.headers["location"] == f"/accounts/login/?next={path}"
        assert (await send(stranger, name, b"x")).status_code == 401
    assert (await robin.client.get(address)).content == b"robin's"


async def test_a_file_that_is_deleted_is_gone_from_the_storage(
    demo: Member, media: Path
) -> None:
    name = some_name()
    before = bytes_in(media)
    await send(demo, name, b"not for long")
    address = await file_of(demo, name)
    await shown(demo, address, "SHA-256")
    assert len(bytes_in(media)) == len(before) + 1
    assert (await demo.client.post(f"{address}delete/")).status_code == 403
    answer = await demo.client.post(
        f"{address}delete/", data={"csrfmiddlewaretoken": demo.token}
    )
    assert answer.status_code == 302
    assert (await demo.client.get(address)).status_code == 404
    assert bytes_in(media) == before


@pytest.mark.parametrize(
    ("name", "status"), [("", 400), ("../..", 400), ("a\0b", 400), ("x" * 121, 400)]
)
async def test_names_that_cannot_be_are_refused(demo: Member, name: str, status: int) -> None:
    answer = await send(demo, name, b"content")
    assert answer.status_code == status
    assert answer.json()["error"]["fields"]["name"]


async def test_a_name_never_becomes_a_path(demo: Member, media: Path) -> None:
    before = bytes_in(media)
    mark = uuid.uuid4().hex
    assert (await send(demo, f"../../{mark}.txt", b"content")).json()["name"] == f"{mark}.txt"
    (stored,) = set(bytes_in(media)) - set(before)
    assert mark not in str(stored)
    assert stored.parent.parent == media / "files"


async def test_a_name_keeps_what_joins_its_letters_and_has_nothing_that_turns_them(
    demo: Member,
) -> None:
    for name in (
        "\U0001f468\u200d\U0001f469\u200d\U0001f467.txt",
        "\u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645.txt",
    ):
        answer = await send(demo, name, b"content")
        assert (answer.status_code, answer.json().get("name")) == (201, name)
    for name in ("txt\u202eexe.txt", "a\u200bb.txt", "a\nb.txt"):
        assert (await send(demo, name, b"content")).status_code == 400


async def test_what_is_not_taken_leaves_nothing(demo: Member, media: Path) -> None:
    before = bytes_in(media)
    name = some_name()
    too_long = await send(demo, name, b"\0" * (50 * MIB + 1))
    assert too_long.status_code == 413
    wrong_type = await send(demo, name, b"x", **{"Content-Type": "text/plain"})
    assert wrong_type.status_code == 415
    forged = await send(demo, name, b"x", **{"X-CSRFToken": "y" * 32})
    assert forged.status_code == 403
    assert (await form(demo)).status_code == 400
    assert name not in (await demo.client.get("/files/")).text
    assert bytes_in(media) == before


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(
    demo: Member, asgi_server: AsgiServer, media: Path
) -> None:
    before = bytes_in(media)
    name = some_name()
    cookies = "; ".join(f"{key}={value}" for key, value in demo.client.cookies.items())
    head = (
        f"POST /files/raw/?name={name} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n"
        f"X-CSRFToken: {demo.token}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {4 * MIB}\r\n\r\n"
    )
    host, port = asgi_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + os.urandom(2 * MIB))
        async with asyncio.timeout(DEADLINE_S):
            while len(bytes_in(media)) == len(before):  # it is being written
                await asyncio.sleep(0.02)
    async with asyncio.timeout(DEADLINE_S):
        while bytes_in(media) != before:
            await asyncio.sleep(0.02)
    assert name not in (await demo.client.get("/files/")).text
