"""The settings that Django's tests run with: its own, on databases of ours."""

import json
import os

from test_sqlite import *  # noqa: F403 - beside Django's `runtests.py`

# `default` and `other`, as the process that started this one wants them.
if redis := os.environ["CONFORMANCE_REDIS"]:
    # By this name Django's tests find it; `cache.py` has Onloop's stand there.
    redis_cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis}
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "redis": redis_cache,
    }
DATABASES = json.loads(os.environ["CONFORMANCE_DATABASES"])
