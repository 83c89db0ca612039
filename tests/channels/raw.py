"""A client of a socket that can do what no library does: not read, and send what is none."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

import psutil

from tests.channels.conftest import DEADLINE_S

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class RawClient:
    """A TCP connection with small buffers, on which the handshake is made by hand.

    It reads nothing by itself.
    """

    def __init__(self, port: int, path: str, *headers: str, small: bool = False) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_S)
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
            f"Origin: http://127.0.0.1:{port}", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *headers, "", "",
        ]  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows is not read
            head += self.socket.recv(1) or b"\r\n\r\n"
        self.status = int(head.split()[1])

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def frame(
        self, payload: bytes, opcode: int = TEXT, *, fin: bool = True, bits: int = 0
    ) -> None:
        """Send a frame; `bits` are added to its first byte."""
        mask = os.urandom(4)
        first = (128 if fin else 0) | bits | opcode
        if len(payload) < 126:
            head = struct.pack("!BB", first, 128 | len(payload))
        elif len(payload) < 65536:
            head = struct.pack("!BBH", first, 254, len(payload))
        else:
            head = struct.pack("!BBQ", first, 255, len(payload))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.socket.sendall(head + mask + masked)

    def say(self, do: str, **arguments: Any) -> None:
        self.frame(json.dumps({"do": do, **arguments}).encode())

    def read_to_the_end(self) -> bytes:
        """All that comes until the connection is closed, in either way."""
        pieces = []
        try:
            while piece := self.socket.recv(65536):
                pieces.append(piece)
        except ConnectionError:
            pass
        return b"".join(pieces)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def ports_held(pid: int) -> set[int]:
    """The ports of the clients whose connections a server's processes still hold."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {
        connection.raddr.port
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.raddr
    }
