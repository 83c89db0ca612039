"""Health checks for an orchestrator or a load balancer: `live` and `ready`.

Two views, for a project's `urls.py`; `include("onloop.health")` has both, at `live/` and
`ready/`. What they say is docs/health.md's subject. `live` must never wait for anything, and
neither may tell a stranger more than which part is missing.
"""

from __future__ import annotations

from onloop.health.views import live, ready, urlpatterns

__all__ = ["live", "ready", "urlpatterns"]
