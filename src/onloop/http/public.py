"""Requests to addresses that come from users: nothing but public targets (SSRF).

The rule stands where connections are opened, so redirects cannot go round it. A name is
resolved once, every answer is judged, and the connection is made to one of the addresses that
were judged: a second answer, as in DNS rebinding, is never asked for. `Host`, SNI and the
certificate stay those of the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx

from onloop.conf import HttpSettings
from onloop.http.addresses import Address, why_not_public
from onloop.http.errors import BodyTooLarge, TargetRefused


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses and allowed ports, by way of `inner`."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend, settings: HttpSettings) -> None:
        self._inner = inner
        self._ports = settings.PUBLIC_PORTS
        self._allowed = settings.PUBLIC_ALLOW

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the addresses of `host`. Raises `TargetRefused`."""
        if port not in self._ports:
            ports = ", ".join(map(str, self._ports))
            raise TargetRefused(
                f"Port {port} of {host} is not allowed; allowed are: {ports} "
                '(ONLOOP["HTTP"]["PUBLIC_PORTS"]).'
            )
        ends_at = None if timeout is None else time.monotonic() + timeout
        addresses = await self._judged(host, port, timeout)
        for number, address in enumerate(addresses, 1):
            # One that does not answer leaves time for the others.
            share = len(addresses) - number + 1
            left = None if ends_at is None else max(ends_at - time.monotonic(), 0.001) / share
            try:
                return await self._inner.connect_tcp(
                    str(address),
                    port,
                    timeout=left,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError(f"{host} has no address.")

    async def _judged(self, host: str, port: int, timeout: float | None) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time.") from None
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {exc}") from exc
        addresses: dict[Address, None] = {}
        for *_, place in answers:
            address = ipaddress.ip_address(place[0])
            # An attacker's name may have one public address for the look of it.
            if why := why_not_public(address, self._allowed):
                raise TargetRefused(
                    f"{host} is not a public target: {address} is {why}. Networks of your own "
                    'that users may name go into ONLOOP["HTTP"]["PUBLIC_ALLOW"].'
                )
            addresses[address] = None
        return list(addresses)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore.AsyncNetworkStream:
        raise TargetRefused("The public client opens no sockets of this machine.")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class PublicTransport(httpx.AsyncBaseTransport):
    """Refuses what is wrong with an address before it is resolved, and bodies without end."""

    def __init__(self, inner: httpx.AsyncBaseTransport, settings: HttpSettings) -> None:
        self.inner = inner
        self._most = settings.PUBLIC_MAX_BODY

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise TargetRefused(f"{request.url.scheme!r} is neither http nor https.")
        if request.url.userinfo:
            raise TargetRefused(
                f"The address of {request.url.host} holds a user's name or password."
            )
        response = await self.inner.handle_async_request(request)
        if request.method != "HEAD" and (reason := self._refusal(response)):
            await response.aclose()
            raise BodyTooLarge(reason)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Limited(response.stream, self._most),
            extensions=response.extensions,
        )

    def _refusal(self, response: httpx.Response) -> str:
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._most:
            return _too_large(self._most)
        # A few bytes may become gigabytes. The client asks for none of these.
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            return f"The response is compressed ({coding}) although the client asked for none."
        return ""

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Limited(httpx.AsyncByteStream):
    def __init__(self, inner: Any, most: int) -> None:
        self._inner = inner
        self._most = most
        self._chunks: Any = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        self._chunks = aiter(self._inner)
        async for chunk in self._chunks:
            left -= len(chunk)
            if left < 0:
                raise BodyTooLarge(_too_large(self._most))
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
        if self._chunks is not None:
            await self._chunks.aclose()


def _too_large(most: int) -> str:
    return f'The response is longer than {most} bytes (ONLOOP["HTTP"]["PUBLIC_MAX_BODY"]).'
