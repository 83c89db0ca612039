"""Middleware of our own, for `settings.MIDDLEWARE`.

Works under Onloop's handler, Django's `ASGIHandler` and WSGI alike. Nothing in here may wait
for anything, or need one of the three.
"""

from __future__ import annotations

from onloop.middleware.json_errors import JSONErrorMiddleware
from onloop.middleware.timing import RequestTimingMiddleware

__all__ = ["JSONErrorMiddleware", "RequestTimingMiddleware"]
