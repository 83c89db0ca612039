"""How far an event loop's application is: what its server's lifespan has told so far.

A server without lifespan (Daphne, WSGI) tells nothing. It serves no request before the
application can answer, so such an application counts as started.
"""

from __future__ import annotations

import asyncio
import os
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


def has_lifespan(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether the server of `loop` has told anything."""
    return loop in _phases


def serving_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop whose application has started, from any thread; the newest of several."""
    serving = [loop for loop, phase in list(_phases.items()) if phase == "started"]
    return next((loop for loop in reversed(serving) if loop.is_running()), None)


# In a forked child: the loops are its parent's, though they say that they run.
os.register_at_fork(after_in_child=_phases.clear)
