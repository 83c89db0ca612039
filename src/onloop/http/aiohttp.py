"""The same time-outs and limits for aiohttp: one `ClientSession` for every event loop."""

from __future__ import annotations

from typing import Any

try:
    import aiohttp
except ImportError as exc:
    raise ImportError(
        'onloop.http.aiohttp needs aiohttp: pip install "django-onloop[aiohttp]"'
    ) from exc

from onloop import conf
from onloop.conf import HttpSettings
from onloop.http.clients import tls
from onloop.perloop import PerLoop


class TooManyWaiters(aiohttp.ClientError):
    """`ONLOOP["HTTP"]["MAX_WAITING"]` requests wait for a connection already."""


class Connector(aiohttp.TCPConnector):
    """A connector in whose line a bounded number waits."""

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__(
            limit=settings.MAX_CONNECTIONS,
            limit_per_host=settings.MAX_PER_HOST,
            keepalive_timeout=settings.IDLE_TIMEOUT,
            ssl=tls(),
        )
        self.settings = settings

    async def _wait_for_available_connection(self, key: Any, traces: Any) -> None:
        # aiohttp's own name: it comes here, and only here, when a request has to wait.
        waiting = sum(map(len, self._waiters.values()))
        if waiting >= self.settings.MAX_WAITING:
            raise TooManyWaiters(
                f"No connection to {key.host}: {waiting} requests wait for one already "
                '(ONLOOP["HTTP"]["MAX_WAITING"]).'
            )
        await super()._wait_for_available_connection(key, traces)


def session() -> aiohttp.ClientSession:
    """Return the aiohttp session of the running loop, for all to share.

    It is made when first asked for and closed with the loop, as `onloop.http.client()` is.
    Time-outs and limits are those of `ONLOOP["HTTP"]`; retries, circuits and judged addresses
    are not for it. It keeps no cookies.

    Raises `onloop.errors.LoopRequired` where no loop runs.
    """
    return _sessions.get()


def _make() -> aiohttp.ClientSession:
    settings = conf.get().HTTP
    return aiohttp.ClientSession(
        connector=Connector(settings),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(
            total=settings.DEADLINE or None,
            connect=settings.POOL_TIMEOUT + settings.CONNECT_TIMEOUT,
            sock_connect=settings.CONNECT_TIMEOUT,
            sock_read=settings.READ_TIMEOUT,
        ),
    )


def _is_stale(made: aiohttp.ClientSession) -> bool:
    """Whether somebody has closed it, or the settings have changed."""
    connector = made.connector
    return (
        made.closed
        or not isinstance(connector, Connector)
        or connector.settings is not conf.get().HTTP
    )


_sessions = PerLoop(
    "onloop.http.aiohttp.session()",
    _make,
    aiohttp.ClientSession.close,
    is_stale=_is_stale,
    is_closed=lambda made: made.closed,
)
