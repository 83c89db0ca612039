"""A search by hypothesis whose result is a finding, and a server that sends what it is told.

The same examples come in each run: a search that finds something finds it for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy, tuples

from tests.reliability.findings import Findings

DEADLINE_S = 90

Check = Callable[..., Coroutine[Any, Any, list[str]]]


def search(
    findings: Findings,
    check: Check,
    *strategies: SearchStrategy[Any],
    examples: int,
    before: Callable[..., Any] | None = None,
    shrink: bool = True,
) -> None:
    """Look for an example in which `await check(*example)` returns faults; add the smallest.

    `before(*example)` is called where no loop runs, and its result becomes the last argument:
    an oracle that may not run on a loop. Without `shrink` the first example will do.
    """

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(tuples(*strategies))
    def example(values: tuple[Any, ...]) -> None:
        findings.counts["examples"] += 1
        known = () if before is None else (before(*values),)
        faults = runner.run(check(*values, *known))
        assert not faults, "; ".join(faults)

    with asyncio.Runner() as runner:
        try:
            example()
        except AssertionError as exc:
            kind, _, _ = str(exc).partition(":")
            findings.add(kind, "\n".join([str(exc), *getattr(exc, "__notes__", [])]))


class Played:
    """One request as a server plays it that sends any messages; what comes back is checked.

    After the last message it sends `http.disconnect` if the body is not complete, or once the
    answer is. `faults` are those of the answer, `raised` what the application raised.
    """

    def __init__(self, application: Any, scope: dict[str, Any], messages: list[Any]) -> None:
        self.faults: list[str] = []
        self.raised: Exception | None = None
        self.status: int | None = None
        self.content = b""
        self.complete = False
        self.left = False  # the application was told that the client is gone
        self._application = application
        self._scope = scope
        self._messages = iter(messages)
        self._more = True
        self._answered = asyncio.Event()

    async def run(self) -> Played:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._application(self._scope, self._receive, self._send)
        except TimeoutError:
            self.faults.append("no end: the application did not return")
        except Exception as exc:  # noqa: BLE001 - it is looked at by whoever asked
            self.raised = exc
        if self.status is not None and not self.complete and not self.left:
            self.faults.append("bad answer: it has no end")
        return self

    async def _receive(self) -> Any:
        await asyncio.sleep(0)
        if not self._answered.is_set():
            for message in self._messages:
                self._note(message)
                return message
            if not self._more:
                await self._answered.wait()
        self.left = True
        return {"type": "http.disconnect"}

    def _note(self, message: Any) -> None:
        if isinstance(message, dict):
            self.left |= message.get("type") == "http.disconnect"
            if message.get("type") == "http.request" and not message.get("more_body"):
                self._more = False

    async def _send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        fault = self._fault_of(message)
        if fault is not None:
            self.faults.append(f"bad answer: {fault}: {message!r}"[:500])
        elif message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.content += message.get("body", b"")
            if not message.get("more_body", False):
                self.complete = True
                self._answered.set()

    def _fault_of(self, message: dict[str, Any]) -> str | None:
        if self.complete:
            return "a message after the last one"
        if message["type"] == "http.response.start":
            if self.status is not None:
                return "a second start"
            if type(message["status"]) is not int or not 200 <= message["status"] <= 599:
                return "status"
            for name, value in message["headers"]:
                if type(name) is not bytes or type(value) is not bytes:
                    return "a header that is not bytes"
                if any(byte in name + value for byte in b"\r\n\0"):
                    return "a header with a line break"
            return None
        if message["type"] != "http.response.body":
            return "an unknown message"
        if self.status is None:
            return "a body before the start"
        if type(message.get("body", b"")) is not bytes:
            return "a body that is not bytes"
        return None
