"""How far an event loop's application is: what its server's lifespan has told so far.

A server without lifespan (Daphne, WSGI) tells nothing. It serves no request before the
application can answer, so such an application counts as started.
"""

from __future__ import annotations

import asyncio
from typing import Literal
from weakref import WeakKeyDictionary

Phase = Literal["starting", "started", "stopping"]

_phases: WeakKeyDictionary[asyncio.AbstractEventLoop, Phase] = WeakKeyDictionary()


def phase_of(loop: asyncio.AbstractEventLoop) -> Phase:
    """Return how far the application of `loop` is."""
    return _phases.get(loop, "started")


def enter_phase(loop: asyncio.AbstractEventLoop, phase: Phase) -> None:
    """Note what the server of `loop` has told."""
    _phases[loop] = phase
