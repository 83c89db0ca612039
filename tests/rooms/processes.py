"""Servers that share a database and a Redis."""

from __future__ import annotations

import json
from typing import Any

from tests.servers import Serving

APPLICATION = "tests.project.asgi_sockets:application"


def serving(
    name: str,
    layer: dict[str, Any],
    beat_s: float,
    application: str = APPLICATION,
    **onloop: Any,
) -> Serving:
    """`onloop` are more settings of `ONLOOP`."""
    return Serving(
        application=application,
        env=(
            ("ONLOOP_TEST_SERVER", name),
            ("ONLOOP_TEST_LAYER", json.dumps(layer)),
            ("ONLOOP_TEST_ONLOOP", json.dumps({"ROOMS_HEARTBEAT": beat_s, **onloop})),
        ),
    )
