"""The harness of R16: plays each case to a server, and judges what came back and what is left.

What the protocol asks for is the server library's to do; what it does otherwise is known, one
by one (`protocol_known`), and counted. What holds in every case, whatever the library does, is
ours: the consumer is told the end, once; nothing is left; the next socket works.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterable
from typing import Any

import httpx

from tests.channels.conftest import DEADLINE_S
from tests.reliability.findings import Findings
from tests.reliability.protocol import (
    DELIVERIES,
    MARKER,
    NORMAL,
    Case,
    Reader,
    Seen,
    closing,
    differences,
    frame,
    writes,
)
from tests.reliability.protocol_known import Known
from tests.reliability.scale import HANG_S
from tests.servers import AsgiServer

# Sockets at once.
AT_ONCE = 10
PATH = "/echo/{}/"


class Client:
    """A connection that writes raw bytes, and reads while it does.

    Plain sockets: a stream of asyncio stops reading when a write fails, and with it would be
    lost what the server has said before it closed.
    """

    def __init__(self, server: AsgiServer, path: str) -> None:
        self._port = server.port
        self._path = path
        self._loop = asyncio.get_running_loop()
        self.seen = Seen()
        self._changed = asyncio.Event()
        self.over = False

    async def __aenter__(self) -> Client:
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        host = f"127.0.0.1:{self._port}"
        lines = [
            f"GET {self._path} HTTP/1.1", f"Host: {host}", f"Origin: http://{host}",
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        ]  # fmt: skip
        await self._loop.sock_sendall(self._socket, "\r\n".join(lines).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self._loop.sock_recv(self._socket, 4096) or b"cut off\r\n\r\n"
        if not head.startswith(b"HTTP/1.1 101 "):
            self._socket.close()
            raise ConnectionError(f"not opened: {head[:200]!r}")
        self._reading = asyncio.create_task(self._read(head.partition(b"\r\n\r\n")[2]))
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._socket.close()

    async def _read(self, data: bytes) -> None:
        reader = Reader(self.seen)
        try:
            reader.feed(data)
            while data := await self._loop.sock_recv(self._socket, 1 << 18):
                reader.feed(data)
                self._changed.set()
        except OSError:
            pass  # reset: the end as well
        finally:
            self.over = True
            self._changed.set()

    async def write(self, pieces: Iterable[bytes]) -> None:
        """Write each by itself; what the server does not take any more goes nowhere."""
        with contextlib.suppress(OSError):
            for piece in pieces:
                await self._loop.sock_sendall(self._socket, piece)
                await asyncio.sleep(0)

    async def until(self, condition: Any) -> bool:
        """Wait for something to be seen; False if the connection ends or nothing comes."""
        try:
            while not condition() and not self.over:
                self._changed.clear()
                async with asyncio.timeout(DEADLINE_S):  # for anything at all
                    await self._changed.wait()
        except TimeoutError:
            self.seen.hangs = True
        return bool(condition())


async def play(server: AsgiServer, case: Case, delivery: str, number: str) -> Seen:
    """Play one case, to the end of its connection."""
    async with Client(server, PATH.format(number)) as client:
        seen = client.seen
        await client.write(writes(case, delivery))
        if not case.closes:
            await client.write([frame(MARKER)])
            await client.until(lambda: seen.close_codes or ("text", MARKER) in seen.events)
            if not client.over:
                seen.goes_on = bool(case.ends) and not seen.close_codes and not seen.hangs
                await client.write([closing(*seen.close_codes[:1] or [NORMAL])])
        await client.until(lambda: False)  # the end
    return seen


class Protocol:
    """`await Protocol(server, cases, known).run(findings)`."""

    def __init__(
        self,
        server: AsgiServer,
        cases: list[Case],
        known: list[Known],
        *,
        patience_s: float = HANG_S,
    ) -> None:
        """`patience_s`: until all must be quiet; a planted fault would use it up."""
        self.server = server
        self.cases = cases
        self.known = known
        self._patience_s = patience_s
        self._used: set[Known] = set()

    async def run(self, findings: Findings, deliveries: int = len(DELIVERIES)) -> None:
        """`deliveries`: in how many of the three ways each case is sent, in turn."""
        async with httpx.AsyncClient(base_url=self.server.url, timeout=DEADLINE_S) as http:
            self._http = http
            await self._next_works(findings, "first")
            before = (await self._ledger())["held"]
            plays = [
                (f"{number}-{way}", case, DELIVERIES[(number + way) % len(DELIVERIES)])
                for number, case in enumerate(self.cases)
                for way in range(deliveries)
            ]
            await self._play_all(plays, findings)
            await self._judge_end(plays, before, findings)
            await self._next_works(findings, "last")
        for known in self.known:
            if known not in self._used:
                findings.add("known, and not seen", known)

    async def _play_all(self, plays: list[tuple[str, Case, str]], findings: Findings) -> None:
        waiting = iter(plays)

        async def some() -> None:
            for number, case, delivery in waiting:
                try:
                    seen = await play(self.server, case, delivery, number)
                except OSError as exc:
                    findings.add("not opened", f"{case.name}: {exc!r}")
                    continue
                self._judge(case, delivery, seen, findings)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())

    def _judge(self, case: Case, delivery: str, seen: Seen, findings: Findings) -> None:
        findings.counts["cases"] += 1
        other = differences(case, seen)
        unknown = []
        for told in other:
            known = next((one for one in self.known if one.matches(case, told)), None)
            if known is None:
                unknown.append(told)
            else:
                self._used.add(known)
        if unknown:
            findings.add("not as RFC 6455 says", f"{case.name} ({delivery}): {unknown}")
        elif other:
            findings.counts["known to be other than the RFC"] += 1

    # --- what is ours ---------------------------------------------------------------------

    async def _ledger(self) -> Any:
        return (await self._http.get("/ledger/")).json()

    async def _judge_end(
        self, plays: list[tuple[str, Case, str]], before: Any, findings: Findings
    ) -> None:
        found: Any = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                while not found or not self._is_quiet(plays, found, before):
                    await asyncio.sleep(0.05)
                    found = await self._ledger()
        for number, case, delivery in plays:
            told = found["told"].get(number, [])
            ended = [word for word in told if word.startswith("disconnect")]
            findings.counts["ends told"] += len(ended)
            if len(ended) != 1 or told[:1] != ["connect"] or len(told) != 2:
                kind = "told twice" if len(ended) > 1 else "the end is not told"
                findings.add(kind, f"{case.name} ({delivery}): {told}")
        for what, count in found["held"].items():
            if count > before[what]:
                findings.add(f"left behind: {what}", f"{count}, before {before[what]}")
        for traceback in tracebacks(self.server.new_log()):
            findings.add("traceback", traceback)

    def _is_quiet(self, plays: list[Any], found: Any, before: Any) -> bool:
        over = all(len(found["told"].get(number, [])) > 1 for number, *_ in plays)
        return over and all(count <= before[what] for what, count in found["held"].items())

    async def _next_works(self, findings: Findings, name: str) -> None:
        hello = Case("an echo", (frame(b"Hello"),), (("text", b"Hello"),))
        seen = await play(self.server, hello, "at once", name)
        if told := differences(hello, seen):
            findings.add("next socket fails", told)


# uvicorn's own, documented in docs/websocket-limits.md.
DOCUMENTED = ("in send_receive_event_to_app",)


def tracebacks(log: str) -> list[str]:
    """Those in a log that no page documents."""
    found = re.findall(r"^ *(?:\+ |\| )?Traceback.*\n(?:[ |+].*\n)*.*\n?", log, re.MULTILINE)
    return [one for one in found if not any(known in one for known in DOCUMENTED)]
