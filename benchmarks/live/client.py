"""A caller of sockets, as little as a client can be: what it takes is the server's loss."""

import asyncio
import time
from collections.abc import Callable

from benchmarks.clients import BadAnswerError

_HANDSHAKE = (
    "GET /{path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_FINAL_TEXT = 0x81
_MASKED = 0x80


class Socket(asyncio.Protocol):
    """One socket. `heard` is called with the text of each message."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._buffer = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard: Callable[[str], None] = lambda _: None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.write(_HANDSHAKE.format(path=self._path).encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(BadAnswerError(f"no socket: {head[:200]!r}"))
                return
            self._is_open = True
            self.opened.set_result(None)
        while len(self._buffer) >= 2:
            first, length = self._buffer[:2]
            if first != _FINAL_TEXT or length > 125:
                self._fail(f"a frame that was not asked for: {self._buffer[:20]!r}")
                return
            if len(self._buffer) < 2 + length:
                return
            text = self._buffer[2 : 2 + length].decode()
            self._buffer = self._buffer[2 + length :]
            self.heard(text)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed the connection")

    def _fail(self, why: str) -> None:
        waiting = self.failed if self._is_open else self.opened
        if not waiting.done():
            waiting.set_exception(BadAnswerError(why))

    def say(self, text: str) -> None:
        assert self._transport is not None
        payload = text.encode()
        # The mask is nought, so that nothing need be masked.
        self._transport.write(
            bytes((_FINAL_TEXT, _MASKED | len(payload), 0, 0, 0, 0)) + payload
        )

    def close(self) -> None:
        self.failed.cancel()
        if self._transport is not None:
            self._transport.abort()


async def open_sockets(port: int, path: str, count: int) -> list[Socket]:
    loop = asyncio.get_running_loop()
    sockets = []
    for _ in range(count):
        _, opening = await loop.create_connection(lambda: Socket(path), "127.0.0.1", port)
        await asyncio.wait_for(opening.opened, 30)
        sockets.append(opening)
    return sockets


async def ask_in_turn(
    sockets: list[Socket], question: Callable[[int], tuple[str, str]], seconds: float
) -> float:
    """Messages a second: each socket asks again as soon as it has its answer."""
    deadline = time.perf_counter() + seconds
    numbers = iter(range(1, 1_000_000_000))
    count = 0
    ended: list[asyncio.Future[None]] = []

    def keep_asking(socket: Socket) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended.append(end)
        expected = ""

        def ask() -> None:
            nonlocal expected
            text, expected = question(next(numbers))
            socket.say(text)

        def heard(text: str) -> None:
            nonlocal count
            if text != expected:
                socket._fail(f"{text!r} in place of {expected!r}")
            elif time.perf_counter() < deadline:
                count += 1
                ask()
            elif not end.done():
                end.set_result(None)

        socket.heard = heard
        ask()

    begin = time.perf_counter()
    for socket in sockets:
        keep_asking(socket)
    await _all(ended, sockets, seconds)
    return count / (time.perf_counter() - begin)


async def say_to_all(sockets: list[Socket], seconds: float) -> float:
    """Messages delivered a second: one says something once all have heard what was before."""
    deadline = time.perf_counter() + seconds
    said = heard_by = rounds = 0
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def say() -> None:
        nonlocal said, heard_by
        said, heard_by = said + 1, 0
        sockets[0].say(str(said))

    def heard(text: str) -> None:
        nonlocal heard_by, rounds
        if text != str(said):
            sockets[0]._fail(f"{text!r} in place of {said}")
        heard_by += 1
        if heard_by == len(sockets):
            rounds += 1
            if time.perf_counter() < deadline:
                say()
            elif not end.done():
                end.set_result(None)

    for socket in sockets:
        socket.heard = heard
    begin = time.perf_counter()
    say()
    await _all([end], sockets, seconds)
    return rounds * len(sockets) / (time.perf_counter() - begin)


async def _all(
    ended: list[asyncio.Future[None]], sockets: list[Socket], seconds: float
) -> None:
    everything = asyncio.gather(*ended)
    failures = [socket.failed for socket in sockets]
    done, _ = await asyncio.wait(
        [everything, *failures], timeout=seconds + 60, return_when=asyncio.FIRST_COMPLETED
    )
    for failed in failures:
        if failed.done():
            everything.cancel()
            failed.result()
    if not done:
        everything.cancel()
        raise BadAnswerError(f"not every socket was answered within {seconds + 60:.0f} s")
