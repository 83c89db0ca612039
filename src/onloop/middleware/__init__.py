"""Middleware of our own, for `settings.MIDDLEWARE`.

Works under Onloop's handler, Django's `ASGIHandler` and WSGI alike. Nothing in here may need
one of the three, and only `BearerTokenMiddleware` waits for something.
"""

from __future__ import annotations

from onloop.middleware.bearer import BearerTokenMiddleware
from onloop.middleware.json_errors import JSONErrorMiddleware
from onloop.middleware.timing import RequestTimingMiddleware

__all__ = ["BearerTokenMiddleware", "JSONErrorMiddleware", "RequestTimingMiddleware"]
