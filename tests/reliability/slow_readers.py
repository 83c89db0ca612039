"""The harness of R15: clients of sockets that do not read, among others that do.

The slow ones have their consumers send more than any buffer holds, and read nothing. The server
must close each of them, and let go of its connection, while the others go on as before.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect

from tests.channels.raw import RawClient, ports_held
from tests.reliability.findings import Findings
from tests.reliability.scale import HANG_S
from tests.servers import AsgiServer

PATH = "/sockets/limited/"
SIZE = 65_536
LOOK_EVERY_S = 0.1


class SlowReaders:
    """`await SlowReaders(server, slow=…, fast=…, within_s=…).run(findings)`.

    `within_s`: in what time a slow one must be closed, once its consumer has begun to send.
    """

    def __init__(
        self, server: AsgiServer, *, slow: int, fast: int, rounds: int, within_s: float
    ) -> None:
        self.server = server
        self.slow = slow
        self.fast = fast
        self.rounds = rounds
        self.within_s = within_s
        self._process = psutil.Process(server.pid)

    async def run(self, findings: Findings) -> None:
        async with AsyncExitStack() as stack:
            fast = [await stack.enter_async_context(self._connect()) for _ in range(self.fast)]
            before = await ask(fast[0], "stats")
            memory = self._memory()
            # The harness looks at the server meanwhile, as it does later.
            looking = asyncio.create_task(self._look())
            alone = await self._talk(fast, findings)
            looking.cancel()
            closed = asyncio.create_task(self._be_slow(findings))
            beside = []
            while not closed.done():
                beside += await self._talk(fast, findings)
            await closed
            after = await ask(fast[0], "stats")
            if not findings.kinds and after["slow"] - before["slow"] != self.slow:
                findings.add("not counted", f"{before} {after}")
            findings.measured["p99 ms alone"] = p99_ms(alone)
            findings.measured["p99 ms beside slow readers"] = p99_ms(beside)
            findings.measured["MiB more"] = (self._memory() - memory) / 2**20

    async def warm_up(self) -> None:
        """What a first socket does, and its leaving."""
        async with self._connect() as client:
            await ask(client, "add", name="of the first")

    def _connect(self) -> Any:
        url = self.server.url.replace("http", "ws") + PATH
        return connect(url, origin=self.server.url, ping_interval=None, open_timeout=HANG_S)

    async def _talk(self, fast: list[ClientConnection], findings: Findings) -> list[float]:
        """Each asks, some times; how long the answers took, in seconds."""
        took: list[float] = []

        async def talk(number: int, client: ClientConnection) -> None:
            for word in range(self.rounds):
                text = f"{number} {word}"
                begun = time.perf_counter()
                answer = await ask(client, "echo", text=text)
                took.append(time.perf_counter() - begun)
                if answer != text:
                    findings.add("wrong answer", f"{answer!r}, not {text!r}")
                findings.counts["answers"] += 1

        try:
            async with asyncio.timeout(self.within_s + 5):
                await asyncio.gather(*(talk(*pair) for pair in enumerate(fast)))
        except TimeoutError:
            findings.add("others wait", f"no answers for {self.within_s + 5} s")
        return took

    async def _be_slow(self, findings: Findings) -> None:
        port = self.server.port
        clients = [
            await asyncio.to_thread(RawClient, port, PATH, small=True) for _ in range(self.slow)
        ]
        begun = time.monotonic()
        for client in clients:
            client.say("push", count=10_000, size=SIZE)
        waiting = list(clients)
        try:
            while waiting and time.monotonic() - begun < self.within_s:
                await asyncio.sleep(LOOK_EVERY_S)
                ports = await asyncio.to_thread(ports_held, self.server.pid)
                held = [client for client in waiting if client.port in ports]
                findings.counts["slow readers closed"] += len(waiting) - len(held)
                waiting = held
            findings.measured["last closed after s"] = time.monotonic() - begun
            for client in waiting:
                findings.add("slow reader not closed", f"port {client.port}")
        finally:
            for client in clients:
                client.close()

    async def _look(self) -> None:
        while True:
            await asyncio.to_thread(ports_held, self.server.pid)
            await asyncio.sleep(LOOK_EVERY_S)

    def _memory(self) -> int:
        processes = [self._process, *self._process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes)


async def ask(client: ClientConnection, do: str, **arguments: Any) -> Any:
    await client.send(json.dumps({"do": do, **arguments}))
    return json.loads(await client.recv())


def p99_ms(took: list[float]) -> float:
    ordered = sorted(took)
    return ordered[int(len(ordered) * 0.99)] * 1000 if ordered else float("nan")


def descriptors(server: AsgiServer) -> int:
    """How many files and sockets the server's processes have open."""
    process = psutil.Process(server.pid)
    return sum(one.num_fds() for one in [process, *process.children(recursive=True)])
