"""What a stack says: the user's own line that held a loop, what that was blocked in, the cure.

Everything here runs in the watchdog's thread. It must never keep a frame: what a frame refers
to last would die in that thread.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import CodeType, FrameType
from typing import NamedTuple

ASYNC_CURE = (
    "await it, or the part of it that blocks, in a thread: asgiref.sync.sync_to_async(function)"
)
IMPORT_CURE = "import that module when the process starts, not in a request"

# Names the request and the cure, "" where there is none to name. It is given the frames,
# innermost first, and must not keep them.
Explain = Callable[[Sequence[FrameType]], tuple[str, str]]


class Culprit(NamedTuple):
    """What held a loop. `request` is empty where none can be told."""

    file: str
    line: int
    function: str
    blocked_in: str
    request: str
    cure: str


class Spot(NamedTuple):
    """A place in a stack, without its frame."""

    code: CodeType
    line: int
    instruction: int

    @property
    def text(self) -> str:
        """The call that is being made there, else its line."""
        first, last, begin, end = next(
            itertools.islice(self.code.co_positions(), self.instruction // 2, None),
            (None, None, None, None),
        )
        line = linecache.getline(self.code.co_filename, first or self.line)
        if begin is not None and end is not None and first == last:
            line = line.encode()[begin:end].decode(errors="replace")
        return line.strip()


class Stretch:
    """One stretch of code that holds a loop, and where it was seen."""

    def __init__(self, holder: object, since: float) -> None:
        self.holder = holder
        self.since = since
        self.held_s = 0.0
        self.over = False
        self.logged = False
        self.alone_s = 0.0  # for so long no other thread ran
        self._sampled = since
        self._seen: Counter[tuple[Spot, Spot]] = Counter()
        self._said: dict[Spot, tuple[str, str]] = {}

    def sample(self, now: float, frames: Sequence[FrameType], explain: Explain) -> None:
        """Note where the code is, with the time since the sample before as its weight."""
        if not frames:
            return
        frame = min(frames, key=lambda frame: _rank(frame.f_code.co_filename))
        spot, inner = (
            Spot(frame.f_code, frame.f_lineno or 0, frame.f_lasti)
            for frame in (frame, frames[0])
        )
        self._seen[spot, inner] += now - self._sampled  # type: ignore[assignment]
        self._sampled = now
        if spot not in self._said:
            self._said[spot] = _explained(frames, explain)

    def culprit(self) -> Culprit:
        """Where most of the time went: the function first, then the line in it."""
        functions: Counter[CodeType] = Counter()
        for (spot, _), weight in self._seen.items():
            functions[spot.code] += weight
        if not functions:
            return Culprit("unknown code", 0, "?", "?", "", ASYNC_CURE)
        (code, _), *_ = functions.most_common(1)
        spot, inner = max(
            (seen for seen in self._seen if seen[0].code is code), key=self._seen.__getitem__
        )
        blocked_in = inner.text or inner.code.co_qualname
        if inner.code is not code:
            blocked_in += f" ({inner.code.co_filename}:{inner.line})"
        request, cure = self._said[spot]
        return Culprit(code.co_filename, spot.line, code.co_qualname, blocked_in, request, cure)


def _explained(frames: Sequence[FrameType], explain: Explain) -> tuple[str, str]:
    try:
        request, cure = explain(frames)
    except Exception:  # noqa: BLE001 - objects of the user's are asked for their names
        request, cure = "", ""
    if any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames):
        cure = IMPORT_CURE
    return request, cure or ASYNC_CURE


# --- whose code it is -------------------------------------------------------------------------


def _folder(module: str) -> str:
    spec = find_spec(module)
    return os.path.dirname(spec.origin or "") + os.sep if spec else os.sep * 2  # noqa: PTH120


_PLUMBING = tuple(_folder(name) for name in ("django", "onloop", "asgiref"))
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STANDARD = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})


@functools.lru_cache(maxsize=1024)
def _rank(file: str) -> int:
    """Whose code it is: 0 the user's own, 1 an installed package's, 2 anybody else's."""
    if file.startswith(("<", *_PLUMBING)):
        return 2
    if any(part in file for part in _PACKAGES):
        return 1
    return 2 if file.startswith(_STANDARD) else 0
