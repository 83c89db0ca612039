"""HTTP/1.1 by hand, for clients that are many and must know exactly what they were answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

# What ends a connection under a reader or a writer.
CUT = (OSError, EOFError)  # EOFError: asyncio's IncompleteReadError


@dataclass(frozen=True)
class Answer:
    """A whole response; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def keeps(self) -> bool:
        """Whether the connection can be used again."""
        return self.headers.get("connection") != "close"


def write_request(writer: asyncio.StreamWriter, path: str, *, method: str = "GET") -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    writer.write(head.encode())


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read a response to its end; raises one of `CUT` where it has none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.splitlines()
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.read()
    return Answer(int(first.split()[1]), headers, body)


class Client:
    """One connection: `async with Client(port) as client: await client.get("/path/")`."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._writer.close()

    async def get(self, path: str, *, method: str = "GET") -> Answer:
        """Raises one of `CUT` if the server closes the connection before the answer's end."""
        write_request(self._writer, path, method=method)
        return await read_answer(self._reader)
