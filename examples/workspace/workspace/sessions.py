"""Sessions in the database, read from the cache while that is there.

Django's ``cached_db`` reads them from the database if the cache fails, and fails then itself as
it puts there what it has read: nobody who is logged in would see a page without Redis. It is
still an error where a session cannot be taken out of the cache, in which it would live on.
"""

import logging
from typing import Any

from django.contrib.sessions.backends import cached_db

logger = logging.getLogger(__name__)


class Spare:
    """A cache that may be away when something is put there, or looked for."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def __contains__(self, key: str) -> bool:
        try:
            return key in self._cache
        except Exception as error:  # noqa: BLE001 - whatever a cache raises
            _warn(error)
            return False

    def set(self, *args: Any) -> None:
        try:
            self._cache.set(*args)
        except Exception as error:  # noqa: BLE001 - as above
            _warn(error)

    async def aset(self, *args: Any) -> None:
        try:
            await self._cache.aset(*args)
        except Exception as error:  # noqa: BLE001 - as above
            _warn(error)


def _warn(error: Exception) -> None:
    logger.warning("A session is known to the database alone: %s", type(error).__name__)


class SessionStore(cached_db.SessionStore):
    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._cache = Spare(self._cache)
