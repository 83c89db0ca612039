"""For tests: sockets of this service, inside a test's transaction."""

from typing import Any

from channels.testing import WebsocketCommunicator

from workspace.asgi import application

TIMEOUT_S = 20


class Socket(WebsocketCommunicator):
    async def next_of(self, kind: str) -> dict[str, Any]:
        while (frame := await self.receive_json_from(TIMEOUT_S))["type"] != kind:
            pass
        return frame

    async def ask(self, kind: str, **frame: Any) -> dict[str, Any]:
        await self.send_json_to(frame)
        return await self.next_of(kind)


async def socket_to(client: Any, user: Any = None, path: str = "/notices/") -> Socket:
    """One that nobody has connected yet, with the session of ``user``."""
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    if user is not None:
        await client.aforce_login(user)
        session = client.cookies["sessionid"].value
        headers.append((b"cookie", f"sessionid={session}".encode()))
    return Socket(application, path, headers)


async def joined(client: Any, user: Any, path: str = "/notices/") -> Socket:
    socket = await socket_to(client, user, path)
    accepted, code = await socket.connect(TIMEOUT_S)
    assert accepted, code
    await socket.next_of("joined")
    return socket
