"""Django's caches on the event loop: `"BACKEND": "onloop.cache.RedisCache"`.

`RedisCache` waits for Redis on the loop. Django's other caches are put where they belong by
`onloop.cache.places`. The package `redis` is imported when the first cache is made, not before.
"""

from __future__ import annotations

from onloop.cache.backend import RedisCache

__all__ = ["RedisCache"]
