"""Onloop's Redis cache in the place of Django's."""

from __future__ import annotations

from django.core.cache.backends import redis

from onloop.cache import RedisCache


def cache_by_onloop() -> None:
    """Have Django's settings and tests find ours where they look for Django's."""
    redis.RedisCache = RedisCache  # type: ignore[misc]
