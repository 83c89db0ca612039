"""The example's rooms and files over real sockets: roles, mentions, attachments, links."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.servers import AsgiServer
from tests.workspace.commands import account, shell
from tests.workspace.members import Member, Socket, member
from tests.workspace.uploads import send

GENERAL = "/rooms/general/"


@pytest.fixture
async def demo(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "demo") as somebody:
        yield somebody


@pytest.fixture
async def robin(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "robin") as somebody:
        yield somebody


async def submit(somebody: Member, path: str, **form: str) -> httpx.Response:
    return await somebody.client.post(
        path, data={**form, "csrfmiddlewaretoken": somebody.token}
    )


async def post_with(socket: Socket, *files: str, text: str = "") -> dict[str, Any]:
    """Post with files, by their ids; the message as it is heard."""
    await socket.say(type="post", body={"text": text, "files": files})
    number = (await socket.next_of("posted"))["number"]
    while (heard := await socket.next_of("message"))["number"] != number:
        pass
    return heard


async def refusal(socket: Socket, **frame: Any) -> str:
    await socket.say(**frame)
    return str((await socket.next_of("error"))["error"])


async def test_a_role_that_another_process_changes_counts_at_once(
    workspace_env: dict[str, str], asgi_server: AsgiServer
) -> None:
    name = f"guest-{uuid.uuid4().hex[:8]}"
    await account(workspace_env, name, "guest", "general")
    async with member(asgi_server, name) as guest, guest.socket(GENERAL) as socket:
        frame = {"type": "post", "body": "May I?"}
        assert await refusal(socket, **frame) == (
            "You are here as a guest. Guests read, and do not write."
        )
        page = await guest.client.get(GENERAL)
        assert "Guests read, and do not write." in page.text
        assert "<textarea" not in page.text
        answer = await submit(guest, GENERAL, text="May I?")
        assert answer.status_code == 403
        assert (await send(guest, "notes.txt", b"x")).status_code == 403
        await account(workspace_env, name, "member")
        await socket.post("Now I may")
        await account(workspace_env, name, "guest")
        assert "guest" in await refusal(socket, **frame)


async def test_a_room_from_its_making_to_its_archive(demo: Member, robin: Member) -> None:
    answer = await submit(demo, "/rooms/new/", name=uuid.uuid4().hex)
    path = answer.headers["location"]
    with pytest.raises(InvalidStatus):
        await robin.connect(path)
    async with demo.socket(path) as there, robin.socket("/rooms/") as inbox:
        assert (await submit(robin, f"{path}members/", name="robin")).status_code == 404
        assert (await submit(demo, f"{path}members/", name="robin")).status_code == 302
        await inbox.next_of("membership")
        async with robin.socket(path) as invited:
            await invited.post("Here I am")
            assert (await submit(robin, f"{path}archive/", archived="1")).status_code == 403
            assert (await submit(demo, f"{path}archive/", archived="1")).status_code == 302
            for socket in (there, invited):
                await socket.next_of("changed")
            assert "archived" in await refusal(invited, type="post", body="x")
        assert "Here I am" in (await robin.client.get(path)).text
        assert (await submit(demo, f"{path}leave/")).status_code == 302
        assert (await demo.client.get(path)).status_code == 404


async def test_who_joins_twice_at_once_is_in_once(
    demo: Member, robin: Member, workspace_env: dict[str, str]
) -> None:
    answer = await submit(robin, "/rooms/new/", name=uuid.uuid4().hex, is_open="1")
    path = answer.headers["location"]
    answers = await asyncio.gather(*(submit(demo, f"{path}join/") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {302}
    page = await demo.client.get(f"{path}members/")
    assert "2 members" in page.text


async def test_rooms_of_one_name_that_are_made_at_once_have_addresses_of_their_own(
    demo: Member, robin: Member
) -> None:
    name = uuid.uuid4().hex
    answers = await asyncio.gather(
        *(submit(who, "/rooms/new/", name=name) for who in (demo, robin, demo, robin))
    )
    paths = {answer.headers["location"] for answer in answers}
    assert paths == {f"/rooms/{name}{end}/" for end in ("", "-2", "-3", "-4")}


async def test_a_mention_that_is_sent_on_two_connections_is_told_once(
    demo: Member, robin: Member, workspace_env: dict[str, str]
) -> None:
    key, mark = str(uuid.uuid4()), uuid.uuid4().hex
    async with demo.socket("/rooms/") as inbox:
        async with robin.socket(GENERAL) as first, robin.socket(GENERAL) as second:
            await asyncio.gather(
                *(socket.post(f"@demo {mark}", key) for socket in (first, second))
            )
        await inbox.next_of("notices")
    told = await shell(
        workspace_env,
        "from notices.models import Notice\n"
        f"for notice in Notice.objects.filter(text__contains={mark!r}):\n"
        "    print(notice.user, notice.kind, notice.path)",
    )
    assert re.fullmatch(r"demo mention /rooms/general/messages/\d+/", told), told
    page = await demo.client.get(told.split()[-1], follow_redirects=True)
    assert f'<mark class="mention me">@demo</mark> {mark}' in page.text


async def test_an_attachment_is_downloaded_by_members_until_it_is_deleted(
    demo: Member, robin: Member, asgi_server: AsgiServer
) -> None:
    content = bytes(range(256)) * 100
    file = (await send(robin, "plan.zip", content)).json()["id"]
    async with demo.socket(GENERAL) as there, robin.socket(GENERAL) as socket:
        (shown,) = (await post_with(socket, file))["body"]["files"]
        assert shown | {"id": ""} == {
            "id": "",
            "name": "plan.zip",
            "size": len(content),
            "media_type": "application/zip",
            "gone": False,
            "thumbnail": False,
        }
        address = f"{GENERAL}files/{shown['id']}/"
        whole = await demo.client.get(address)
        assert whole.content == content
        assert whole.headers["content-disposition"] == 'attachment; filename="plan.zip"'
        assert whole.headers["x-content-type-options"] == "nosniff"
        part = await demo.client.get(address, headers={"Range": "bytes=-5"})
        assert (part.status_code, part.content) == (206, content[-5:])
        same = await demo.client.get(address, headers={"If-None-Match": whole.headers["etag"]})
        assert same.status_code == 304
        # Neither is it the reader's own, nor shown in another room.
        assert (await demo.client.get(f"/files/{file}/")).status_code == 404
        elsewhere = address.replace("general", "goods-out")
        assert (await demo.client.get(elsewhere)).status_code == 404
        assert (await submit(robin, f"/files/{file}/delete/")).status_code == 302
        gone = await there.next_of("file")
        assert (gone["id"], gone["gone"]) == (shown["id"], True)
        assert (await demo.client.get(address)).status_code == 410
    assert "This file has been deleted." in (await demo.client.get(GENERAL)).text


async def test_a_shared_link_needs_no_log_in_and_ends_when_it_is_revoked(
    robin: Member, ahttp: httpx.AsyncClient
) -> None:
    content = b"line\n" * 1000
    file = (await send(robin, "notes.txt", content)).json()["id"]
    assert (await submit(robin, f"/files/{file}/share/", expires="24")).status_code == 302
    about = (await robin.client.get(f"/files/{file}/about/")).text
    (link,) = re.findall(r"/files/shared/([0-9a-f-]{36})/", about)
    address = f"/files/shared/{link}/"
    page = await ahttp.get(address)
    assert "robin has shared a file with you." in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    downloads = await asyncio.gather(*(ahttp.get(f"{address}download/") for _ in range(10)))
    assert {answer.content for answer in downloads} == {content}
    part = await ahttp.get(f"{address}download/", headers={"Range": "bytes=4990-"})
    assert (part.status_code, part.content) == (206, content[4990:])
    assert "10 downloads" in (await robin.client.get(f"/files/{file}/about/")).text
    for path in (f"/files/{file}/", f"/files/{file}/about/"):
        assert (await ahttp.get(path)).status_code == 302
    assert (await submit(robin, f"/files/{file}/links/{link}/revoke/")).status_code == 302
    for path in (address, f"{address}download/"):
        answer = await ahttp.get(path)
        assert answer.status_code == 410
        assert "This link was revoked" in answer.text
