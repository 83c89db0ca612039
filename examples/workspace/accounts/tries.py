"""How often somebody tried passwords: so many for a name from an address, then not for a while.

A try is counted before its password is looked at: of any number that come at once, no more are
looked at than are allowed. The counter is in the cache, which is one for all processes if it is
Redis, and ends with its stretch of time. It belongs to a name *and* an address, so nobody locks
out somebody else. A cache that is away limits nobody: people come in all the same.
"""

import hashlib
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

from onloop.tokens.failures import client_of

logger = logging.getLogger(__name__)


class TooManyTries(Exception):
    """No password is looked at for the next ``wait_s`` seconds."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many wrong passwords. Try again in {wait_s} seconds.")
        self.wait_s = wait_s


@contextmanager
def counted(request: HttpRequest, username: str, now: float | None = None) -> Iterator[None]:
    """Around the check of a password: an exception says that it was wrong, none that it was
    right, which ends the count. Raises ``TooManyTries`` in place of running it.

    ``now`` is a time in seconds since the epoch.
    """
    length_s = settings.LOG_IN_WINDOW_S
    number, past_s = divmod(time.time() if now is None else now, length_s)
    left_s = max(1, math.ceil(length_s - past_s))
    key = _key(f"{number:.0f} {client_of(request)} {username}")
    if _count(key, left_s) > settings.LOG_IN_TRIES:
        logger.warning("Too many wrong passwords for one name from %s.", client_of(request))
        raise TooManyTries(left_s)
    yield
    _forget(key)


def _key(text: str) -> str:
    # Not the name itself: memcached takes no key with spaces, nor a long one.
    return f"accounts.tries.{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"


def _count(key: str, left_s: int) -> int:
    try:
        cache.add(key, 0, left_s + 1)
        return int(cache.incr(key))
    except ValueError:  # the counter was thrown away between the two: another begins
        return 1
    except Exception:
        logger.warning("A try was not counted: the cache does not answer.", exc_info=True)
        return 1


def _forget(key: str) -> None:
    try:
        cache.delete(key)
    except Exception:
        logger.warning("Tries are not forgotten: the cache does not answer.", exc_info=True)
