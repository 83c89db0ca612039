"""The example's sockets while its database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from onloop.testing import FaultProxy
from tests.servers import AsgiServer, Serving, start
from tests.workspace.members import DEADLINE_S, member

pytestmark = pytest.mark.only_on("postgresql")


@pytest.fixture
def proxy(workspace_env: dict[str, str]) -> Iterator[FaultProxy]:
    """In front of PostgreSQL."""
    place = urlsplit(workspace_env["DATABASE_URL"])
    assert place.hostname
    assert place.port
    with FaultProxy(place.hostname, place.port) as running:
        yield running


@pytest.fixture
def service(
    workspace_env: dict[str, str], proxy: FaultProxy, tmp_path: Path
) -> Iterator[AsgiServer]:
    place = urlsplit(workspace_env["DATABASE_URL"])
    url = place._replace(netloc=f"{place.username}@127.0.0.1:{proxy.port}").geturl()
    env = {**workspace_env, "DATABASE_URL": url}
    running = start(
        Serving(application="workspace.asgi:application", env=tuple(env.items())), tmp_path
    )
    yield running
    running.stop()


async def test_sockets_end_without_a_traceback_and_come_back(
    service: AsgiServer, proxy: FaultProxy
) -> None:
    async with member(service, "demo") as demo:
        get = demo.client.get
        async with demo.connect("/rooms/general/") as socket:
            await socket.recv()
            proxy.refuse()
            proxy.cut()
            service.mark_log()
            await socket.send('{"type": "typing"}')
            with pytest.raises(ConnectionClosed) as ended:
                async with asyncio.timeout(DEADLINE_S):
                    while True:
                        await socket.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1011
        with pytest.raises(InvalidStatus):
            await demo.connect("/rooms/general/")
        assert service.new_log().count("The socket /rooms/general/ ends: ") == 2
        for line in ("Exception in ASGI application", "without sending handshake"):
            assert line not in service.new_log()

        proxy.forward()
        async with asyncio.timeout(DEADLINE_S):
            while (await get("/basket/")).status_code == 503:
                await asyncio.sleep(0.05)
        async with demo.socket("/rooms/general/") as again:
            assert await again.post("Back") > 0
