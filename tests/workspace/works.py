"""Jobs of the example's people, over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from tests.workspace.members import DEADLINE_S, Member

WORK = re.compile(r'<article class="card work" id="work-(\d+)".*?</article>', re.DOTALL)
# Seconds that a job rests after each step: one that is to be cancelled ends no sooner.
PAUSE = "0.2"
NAMES = "sku,name,category,price,stock,description"


@dataclass
class Page:
    """What the page of one job tells."""

    text: str

    @property
    def state(self) -> str:
        return re.search(r'data-state="([a-z ]+)"', self.text)[1]  # type: ignore[index]

    @property
    def counts(self) -> dict[str, int]:
        found = re.findall(r"<div><dt>([a-z ]+)</dt><dd>(\d+)</dd></div>", self.text)
        return {name: int(number) for name, number in found}

    @property
    def errors(self) -> list[tuple[str, str]]:
        return re.findall(r'<tr><th scope="row">(\d+)</th><td>(.*?)</td></tr>', self.text)

    @property
    def problem(self) -> str:
        found = re.search(r'<p class="problem">(.*?)</p>', self.text)
        return found[1] if found else ""

    @property
    def events(self) -> str:
        return re.search(r'data-events="([^"]+)"', self.text)[1]  # type: ignore[index]

    @property
    def outcome(self) -> str:
        return re.search(r'<a href="(/files/[0-9a-f-]+/)" download>', self.text)[1]  # type: ignore[index]


async def begin(member: Member, kind: str, table: str | bytes | None = None) -> str:
    """Begin a job; return the address of its page."""
    form = {"kind": kind, "csrfmiddlewaretoken": member.token}
    files = None if table is None else {"file": ("products.csv", table, "text/csv")}
    answer = await member.client.post("/jobs/", data=form, files=files)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


async def page(member: Member, address: str) -> Page:
    answer = await member.client.get(address)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def ended(member: Member, address: str) -> Page:
    async with asyncio.timeout(DEADLINE_S):
        while (now := await page(member, address)).state in ("waiting", "running"):
            await asyncio.sleep(0.05)
    return now


async def post(member: Member, address: str, what: str, **form: Any) -> Any:
    form["csrfmiddlewaretoken"] = member.token
    return await member.client.post(f"{address}{what}/", data=form)


async def streamed(member: Member, address: str) -> list[dict[str, Any]]:
    """All states that the job's stream tells until its end."""
    async with asyncio.timeout(DEADLINE_S), member.client.stream("GET", address) as answer:
        assert answer.status_code == 200
        return [
            json.loads(line.removeprefix("data: "))
            async for line in answer.aiter_lines()
            if line.startswith("data: ")
        ]
