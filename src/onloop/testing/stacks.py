"""Where a suspended task waits: its stack through coroutines, generators and bridges.

`Task.get_stack()` stops at the first awaitable that is no coroutine, and a bridge is one. This
reads frames and never holds on to them.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from onloop import bridge, taskfactory


@dataclass(frozen=True)
class Stack:
    """Places in the source, the outermost first; `str()` formats them like a traceback."""

    places: tuple[tuple[str, int, str], ...]

    @classmethod
    def of(cls, waiting: Any) -> Stack:
        """Return the stack of a suspended task, coroutine, generator or greenlet."""
        if isinstance(waiting, asyncio.Task):
            waiting = waiting.get_coro()
        return cls.from_frames(_frames(waiting))

    @classmethod
    def from_frames(cls, frames: Iterable[FrameType]) -> Stack:
        return cls(
            tuple((f.f_code.co_filename, f.f_lineno or 0, f.f_code.co_name) for f in frames)
        )

    @property
    def innermost(self) -> str:
        """One line that names the place: "file.py:12 in function"."""
        if not self.places:
            return "nowhere"
        file, line, name = self.places[-1]
        return f"{Path(file).name}:{line} in {name}"

    def __str__(self) -> str:
        lines = []
        for file, line, name in self.places:
            lines.append(f'  File "{file}", line {line}, in {name}')
            if source := linecache.getline(file, line).strip():
                lines.append(f"    {source}")
        return "\n".join(lines)

    def __contains__(self, name: object) -> bool:
        """Tell whether a function of this name is in the stack."""
        return any(place[2] == name for place in self.places)


def _frames(waiting: Any) -> Iterator[FrameType]:
    while waiting is not None:
        if isinstance(waiting, bridge.Bridge):
            frames = list(greenlet_frames(waiting))
            yield from frames
            waiting = _awaited_in(frames)
            continue
        if isinstance(waiting, taskfactory.BridgedCoroutine):
            waiting = waiting._steps if waiting._steps is not None else waiting._coro
            continue
        inner = getattr(waiting, "wrapped_coroutine", None)
        if inner is not None:
            waiting = inner
            continue
        frame, following = _step(waiting)
        if frame is None:
            return
        yield frame
        waiting = _bridge_of(waiting) if following is None else following


def _step(waiting: Any) -> tuple[FrameType | None, Any]:
    for prefix, following in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        frame = getattr(waiting, f"{prefix}_frame", None)
        if frame is not None:
            return frame, getattr(waiting, following)
    return None, None


def _bridge_of(generator: Any) -> bridge.Bridge | None:
    """Return the bridge that the suspended `generator` drives.

    Not by `f_locals`: before Python 3.13 that leaves references to all locals behind.
    """
    for held in gc.get_referents(generator):
        if isinstance(held, bridge.Bridge) and not held.dead:
            return held
    return None


def greenlet_frames(greenlet: Any) -> Iterator[FrameType]:
    """Yield the frames of a suspended greenlet, the outermost first."""
    frames: list[FrameType] = []
    frame = greenlet.gr_frame
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return reversed(frames)


def _awaited_in(frames: list[FrameType]) -> Any:
    """Return what the innermost frame, if it is `bridge.await_`, waits for."""
    if frames and frames[-1].f_code is bridge.await_.__code__:
        return frames[-1].f_locals.get("steps")
    return None
