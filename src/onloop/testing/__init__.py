"""Tools for tests of asynchronous Django code: a pytest plugin, and its parts without pytest.

Importing this package needs no settings and loads neither Django nor a driver.
"""

from __future__ import annotations

from onloop.testing.ledger import Leaked, LeakLedger
from onloop.testing.protocol import Direction
from onloop.testing.proxied import Action, ProxiedConnection, Trigger
from onloop.testing.proxy import FaultProxy
from onloop.testing.readings import Leak
from onloop.testing.stacks import Stack
from onloop.testing.sweep import (
    CancelSwallowed,
    CancelUnbalanced,
    Hung,
    Outcome,
    Sweep,
    SweepFailed,
    cancel_sweep,
)
from onloop.testing.windows import Arrival, ForcedWindow, Window, WindowError

__all__ = [
    "Action",
    "Arrival",
    "CancelSwallowed",
    "CancelUnbalanced",
    "Direction",
    "FaultProxy",
    "ForcedWindow",
    "Hung",
    "Leak",
    "LeakLedger",
    "Leaked",
    "Outcome",
    "ProxiedConnection",
    "Stack",
    "Sweep",
    "SweepFailed",
    "Trigger",
    "Window",
    "WindowError",
    "cancel_sweep",
]
