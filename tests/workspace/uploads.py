"""Files of the example's people, over HTTP."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx

from tests.workspace.members import DEADLINE_S, Member

ITEM = re.compile(r'<li class="card file" data-file="([0-9a-f-]{36})">(.*?)</li>', re.DOTALL)


def bytes_in(media: Path) -> list[Path]:
    """All that is in the storage, half-written files too."""
    return sorted(path for path in media.rglob("*") if path.is_file())


async def form(member: Member, *files: tuple[str, bytes], path: str = "/files/") -> Any:
    """Upload by the plain form."""
    return await member.client.post(
        path,
        data={"csrfmiddlewaretoken": member.token},
        files=[("file", (name, content, "text/html")) for name, content in files],
    )


async def send(member: Member, name: str, content: Any, **headers: str) -> httpx.Response:
    """Upload as the page's script does."""
    given = {"Content-Type": "application/octet-stream", "X-CSRFToken": member.token}
    return await member.client.post(
        "/files/raw/", params={"name": name}, content=content, headers=given | headers
    )


async def items(member: Member) -> dict[str, str]:
    """What the list shows of each file."""
    page = await member.client.get("/files/")
    assert page.status_code == 200
    return dict(ITEM.findall(page.text))


async def file_of(member: Member, name: str) -> str:
    """The address of a file that is in the list."""
    (pk,) = [pk for pk, text in (await items(member)).items() if f">{name}</a>" in text]
    return f"/files/{pk}/"


async def shown(member: Member, address: str, text: str) -> str:
    """Wait until the list shows a text about a file; return all that it shows of it."""
    pk = address.split("/")[2]
    async with asyncio.timeout(DEADLINE_S):
        while text not in (about := (await items(member))[pk]):
            await asyncio.sleep(0.05)
    return about
