"""Consumers in process, played with Channels' own communicators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from channels.testing import WebsocketCommunicator

from tests.asgi.conftest import borrowed, started_threads  # noqa: F401 - a fixture
from tests.database import TestDatabases
from tests.db.conftest import extra_alias  # noqa: F401 - a fixture

# However busy the machine is; what is tested never depends on it.
DEADLINE_S = 90

Open = Callable[..., Awaitable["Socket"]]


class Socket(WebsocketCommunicator):
    """Channels' communicator, with a deadline that only something that hangs runs into."""

    async def ask(self, what: object) -> object:
        """Send JSON, and return the JSON that comes next."""
        await self.send_json_to(what)
        return await self.receive_json_from(timeout=DEADLINE_S)

    async def leave(self, code: int = 1000) -> None:
        await self.disconnect(code, timeout=DEADLINE_S)

    async def cancel(self) -> None:
        """What a server does to a consumer that does not end."""
        self.future.cancel()
        await asyncio.wait([self.future], timeout=DEADLINE_S)
        assert self.future.done()


@pytest.fixture
async def open_socket(db_clean: TestDatabases) -> AsyncIterator[Open]:
    """`await open_socket(application, "/path/")`: a socket that was accepted.

    Afterwards the consumers of a test have ended, and nothing of them is left.
    """
    before = asyncio.all_tasks()
    sockets: list[Socket] = []

    async def open_(application: object, path: str = "/", **options: object) -> Socket:
        socket = Socket(application, path, **options)
        sockets.append(socket)
        accepted, answer = await socket.connect(timeout=DEADLINE_S)
        assert accepted, answer
        return socket

    yield open_
    for socket in sockets:
        if not socket.future.done():
            await socket.leave()
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    left = {task for task in tasks if not task.get_name().startswith("pytest")}
    assert not left, f"tasks are left: {left}"
    assert borrowed() == {}, "connections are still borrowed"


@pytest.fixture
def noted() -> Iterator[Callable[[str], int]]:
    """`noted("slow")`: how many sockets of that kind were counted since the test began.

    Afterwards none is counted as open.
    """
    from onloop.channels import socket_stats
    from tests.channels.limited import left

    left.clear()
    before = socket_stats()
    yield lambda kind: socket_stats()[kind] - before[kind]
    assert socket_stats()["open"] == before["open"], "a socket is still counted as open"
