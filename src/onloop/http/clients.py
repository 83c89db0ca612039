"""The clients of this process: one of each kind for every event loop."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from onloop import conf
from onloop.conf import HttpSettings
from onloop.http import extensions, urls
from onloop.http.hosts import HostTransport, circuits_of, gate_of
from onloop.http.public import PublicBackend, PublicTransport
from onloop.http.retries import RetryTransport
from onloop.perloop import PerLoop

Wrap = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]

# The address comes from a user: not for ever round in circles.
PUBLIC_REDIRECTS = 5


class Client(httpx.AsyncClient):
    """An `httpx.AsyncClient` whose requests have a deadline each, redirects included.

    `settings`: what it was made for.
    """

    settings: HttpSettings

    def build_request(self, method: str, url: httpx.URL | str, **kwargs: Any) -> httpx.Request:
        with urls.given(url):
            return super().build_request(method, url, **kwargs)

    async def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        extensions.begin(request)
        with urls.redirected(request):
            return await super().send(request, **kwargs)

    async def shut(self) -> None:
        await super().aclose()

    async def aclose(self) -> None:
        """Do nothing: it is everybody's. `onloop.http.aclose()` closes it."""

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def __aenter__(self) -> Client:
        return self


def client() -> httpx.AsyncClient:
    """Return the HTTP client of the running loop, an `httpx.AsyncClient` for all to share.

    It is opened when first asked for, and closed with the loop (`aclose`). Its time-outs,
    limits, retries and circuits are those of `ONLOOP["HTTP"]`; it keeps no cookies.

    Raises `onloop.errors.LoopRequired` where no loop runs.
    """
    return _clients.get()


def public_client() -> httpx.AsyncClient:
    """Return the client for addresses that come from users, which goes to public ones only.

    Requests to others raise `TargetRefused`, wherever a redirect or a name leads; bodies that
    are too long `BodyTooLarge`. Proxies of the environment are not used.

    Raises `onloop.errors.LoopRequired` where no loop runs.
    """
    return _public_clients.get()


def timeouts(settings: HttpSettings) -> httpx.Timeout:
    return httpx.Timeout(
        connect=settings.CONNECT_TIMEOUT,
        read=settings.READ_TIMEOUT,
        write=settings.WRITE_TIMEOUT,
        pool=settings.POOL_TIMEOUT,
    )


def no_cookies() -> CookieJar:
    """A jar that takes none: what a server tells one user must not be sent for another."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Read the certificates of the authorities once, which takes some 20 ms."""
    return httpx.create_ssl_context()


# What httpcore and anyio import when they are first used, whatever the request.
LAZY = ("anyio._backends._asyncio", "anyio.streams.tls", "anyio.to_thread")


def warm() -> None:
    """Load what the first request would load, which would hold the loop for it."""
    tls()
    for name in LAZY:
        with suppress(ImportError):  # another version's; the first request finds its own
            importlib.import_module(name)


def _make() -> Client:
    settings = conf.get().HTTP
    made = Client(
        verify=tls(),
        limits=httpx.Limits(
            max_connections=settings.MAX_CONNECTIONS,
            max_keepalive_connections=settings.MAX_IDLE,
            keepalive_expiry=settings.IDLE_TIMEOUT,
        ),
        timeout=timeouts(settings),
        cookies=no_cookies(),
    )
    made.settings = settings
    # Around those that httpx has made, for the proxies of the environment among others.
    wrap = _limits(settings)
    made._transport = wrap(made._transport)
    made._mounts = {
        pattern: transport and wrap(transport) for pattern, transport in made._mounts.items()
    }
    return made


def _make_public() -> Client:
    settings = conf.get().HTTP
    inner = httpx.AsyncHTTPTransport(verify=tls(), trust_env=False)
    # httpx has no argument for it: how connections are opened is httpcore's business.
    inner._pool = httpcore.AsyncConnectionPool(
        ssl_context=tls(),
        max_connections=settings.MAX_CONNECTIONS,
        max_keepalive_connections=settings.MAX_IDLE,
        keepalive_expiry=settings.IDLE_TIMEOUT,
        network_backend=PublicBackend(httpcore.AnyIOBackend(), settings),
    )
    made = Client(
        transport=_limits(settings)(PublicTransport(inner, settings)),
        timeout=timeouts(settings),
        cookies=no_cookies(),
        headers={"Accept-Encoding": "identity"},
        max_redirects=PUBLIC_REDIRECTS,
        trust_env=False,
    )
    made.settings = settings
    return made


def _limits(settings: HttpSettings) -> Wrap:
    gate, circuits = gate_of(settings), circuits_of(settings)
    return lambda inner: RetryTransport(HostTransport(inner, gate, circuits), settings)


def _is_stale(made: Client) -> bool:
    return made.settings is not conf.get().HTTP


_clients = PerLoop("onloop.http.client()", _make, Client.shut, is_stale=_is_stale)
_public_clients = PerLoop(
    "onloop.http.public_client()", _make_public, Client.shut, is_stale=_is_stale
)
