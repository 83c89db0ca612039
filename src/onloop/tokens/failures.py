"""How often a client's tokens were refused: a counter in Django's default cache.

A counter belongs to an address and to a stretch of time, and expires with it: that bounds the
memory, and which cache it is says how far the limit reaches (one process, or all). A cache that
is not there limits nobody.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math
import time

from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest
from django.utils.module_loading import import_string

from onloop import conf
from onloop.cache.places import sync_to_async

logger = logging.getLogger("onloop.tokens")

AWAY = "A refused token could not be counted: the cache does not answer."


class Window:
    """The stretch of time that it is now, and the counter of a client in it."""

    def __init__(self, request: HttpRequest) -> None:
        settings = conf.get()
        self.most = settings.BEARER_MAX_FAILURES
        self._length_s = settings.BEARER_FAILURE_WINDOW
        number, past_s = divmod(time.time(), self._length_s)
        self._left_s = max(1, math.ceil(self._length_s - past_s))
        # Not the address itself: memcached takes no key with spaces, nor a long one.
        digest = hashlib.sha256(f"{number:.0f} {client_of(request)}".encode(errors="replace"))
        self.key = f"onloop.tokens.failures.{digest.hexdigest()}"

    @property
    def timeout_s(self) -> int:
        return self._left_s + 1

    def wait_s(self, count: int) -> int:
        """Seconds that a client with so many failures has to wait; 0 within the limit."""
        return self._left_s if count > self.most else 0


def count(request: HttpRequest) -> int:
    """Count a failure; return the seconds that the client has to wait, 0 within the limit."""
    if not conf.get().BEARER_MAX_FAILURES:
        return 0
    window = Window(request)
    try:
        if cache.add(window.key, 1, window.timeout_s):
            return window.wait_s(1)
        return window.wait_s(cache.incr(window.key))
    except ValueError:  # the counter was thrown away between the two
        return 0
    except Exception:
        logger.warning(AWAY, exc_info=True)
        return 0


async def acount(request: HttpRequest) -> int:
    if not conf.get().BEARER_MAX_FAILURES:
        return 0
    window = Window(request)
    try:
        if await cache.aadd(window.key, 1, window.timeout_s):
            return window.wait_s(1)
        return window.wait_s(await _aincr(window.key))
    except ValueError:
        return 0
    except Exception:
        logger.warning(AWAY, exc_info=True)
        return 0


async def _aincr(key: str) -> int:
    # Django 5.2's own `aincr` reads and writes in two steps, even where the cache can do it in
    # one: of failures that come at once, it counts one.
    if getattr(cache.aincr, "__func__", None) is BaseCache.aincr:
        count: int = await sync_to_async(cache.incr)(key)
        return count
    return await cache.aincr(key)


def client_of(request: HttpRequest) -> str:
    """Whose failures are counted together: an address, or the /64 of an IPv6 address.

    Who has one IPv6 address has 2**64 of them.
    """
    hook = conf.get().BEARER_CLIENT_ADDRESS
    given = import_string(hook)(request) if hook else request.META.get("REMOTE_ADDR")
    try:
        address = ipaddress.ip_address(str(given or ""))
    except ValueError:
        return str(given or "")  # a Unix socket has none, a hook may name something else
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
