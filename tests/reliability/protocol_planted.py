"""The application of R16, whose consumers are never told the end: for its planted fault."""

from __future__ import annotations

import asyncio

from onloop.channels.session import Session
from tests.reliability.protocol_site import application

__all__ = ["application"]

_receive = Session.receive


async def receive(self):
    message = await _receive(self)
    if message["type"] == "websocket.disconnect":
        await asyncio.Event().wait()
    return message


Session.receive = receive
