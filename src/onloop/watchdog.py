"""The watchdog: names the code that held an event loop, and how to move it off the loop.

One daemon thread a process looks after the loops that serve. It posts a mark to each
(`call_soon_threadsafe`); while a mark has not run, something holds the loop, and the thread
looks at the stack of the loop's thread. A request pays for counting itself, nothing else:
there is no hook in the bridge, and where nothing is served there is no thread.

It must never raise into a loop, never wait for one, and never keep a frame or a task.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

from onloop import conf, metrics
from onloop.culprits import Culprit, Explain, Stretch
from onloop.stalls import Record, Stall, Stalls

__all__ = ["Culprit", "Stall", "Stalls", "recent_stalls", "renew", "serving", "stalls"]

logger = logging.getLogger("onloop.watchdog")

NAME = "onloop-watchdog"

# A stall that lasts longer is logged while it lasts: it may never end.
LASTING_S = 5.0
# The same place is logged once in so many seconds, and so many places are remembered.
QUIET_S = 60.0
MAX_PLACES = 1000
# How long the thread stays when the last request is over.
LINGER_S = 0.2
# Between two looks at a loop.
MIN_LOOK_S, MAX_LOOK_S = 0.001, 0.5


class serving:  # noqa: N801 - reads as what it is, a `with` block
    """`with serving(explain):` on the loop: it is watched meanwhile.

    With `lingers=False` the watch ends with the last block, without a moment's delay.
    """

    __slots__ = ("_explain", "_lingers", "_watch")

    def __init__(self, explain: Explain, *, lingers: bool = True) -> None:
        self._explain = explain
        self._lingers = lingers

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        watch: Watch | None = _dog.watches.get(loop)
        if watch is not None:
            watch.entered += 1
            # In this order: the thread gives the watch up, and then asks who uses it.
            if not watch.watched:
                watch.left += 1
                watch = None
            elif watch.rests:
                watch.rests = False
                _dog.wake.set()
        self._watch = watch = watch or _dog.begin(loop, self._explain)
        if watch is not None and not self._lingers:
            watch.lifespans += 1

    def __exit__(self, *exc: object) -> None:
        watch = self._watch
        if watch is not None:
            watch.left += 1
            if not self._lingers:
                watch.lifespans -= 1
                watch.lingers = False
                _dog.wake.set()


def stalls() -> Stalls:
    """Return what was counted in this process so far."""
    return _dog.record.stalls


def recent_stalls() -> list[Stall]:
    """Return the last stalls of this process, at most 20, the newest first."""
    return _dog.record.recent()


def renew(*, setting: str = "ONLOOP", **kwargs: Any) -> None:
    """Read the setting anew, at the next request; the receiver of `setting_changed`."""
    if setting == "ONLOOP":
        for watch in list(_dog.watches.values()):
            watch.watched = False
        _dog.wake.set()


# --- the thread -------------------------------------------------------------------------------


class Watchdog:
    """The thread and what it knows. After a fork the child has one of its own."""

    def __init__(self) -> None:
        self.watches: dict[asyncio.AbstractEventLoop, Watch] = {}
        self.wake = threading.Event()
        self.record = Record()
        self._guard = threading.Lock()  # around what both sides change: the next two
        self._thread: threading.Thread | None = None
        # When a stall of a file's function was logged, and how many were not since.
        self._places: dict[tuple[str, str], tuple[float, int]] = {}

    def begin(self, loop: asyncio.AbstractEventLoop, explain: Explain) -> Watch | None:
        """Have `loop` watched, on whose thread this is called; None if it is not to be."""
        try:
            stall_ms = conf.get().STALL_MS
        except Exception:  # noqa: BLE001 - whoever needs the settings next says what is wrong
            return None
        if not stall_ms:
            return None
        with self._guard:
            watch = self.watches.get(loop)
            if watch is None or not watch.watched:
                watch = self.watches[loop] = Watch(loop, stall_ms / 1000, explain)
            watch.entered += 1
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=NAME, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is about to end
                    self.watches.pop(loop).watched = False
                    return None
                self._thread = thread
        self.wake.set()
        return watch

    def _run(self) -> None:
        while self._goes_on():
            due = min((watch.due for watch in list(self.watches.values())), default=0.0)
            self.wake.wait(max(0.0, due - time.monotonic()))
            self.wake.clear()
            for watch in list(self.watches.values()):
                now = time.monotonic()
                if watch.watched and watch.is_due(now):
                    self._try(watch, now)

    def _goes_on(self) -> bool:
        over = []
        with self._guard:
            for loop, watch in list(self.watches.items()):
                if watch.is_over():
                    over.append(self.watches.pop(loop))
            goes_on = bool(self.watches)
            if not goes_on:
                self._thread = None
        for watch in over:
            self._try(watch, None)
        return goes_on

    def _try(self, watch: Watch, now: float | None) -> None:
        """Look at a loop `now`, or for the last time; whatever fails, fails here."""
        try:
            if now is None:
                watch.end()
            else:
                watch.due = now + watch.look(now)
            self._report_of(watch)
        except Exception:
            watch.watched = False
            logger.exception("The watchdog failed; the next request starts it anew.")

    def _report_of(self, watch: Watch) -> None:
        stall, watch.stall = watch.stall, None
        if stall is not None:
            self._report(stall)
            # How long a log's handlers took says nothing about the loops.
            after = time.monotonic()
            for other in list(self.watches.values()):
                other.due = max(other.due, after)

    def _report(self, stall: Stretch) -> None:
        culprit, ms = self.record.add(stall)
        if stall.logged:
            logger.info(
                "%s no longer holds the event loop, after %.0f ms.", culprit.function, ms
            )
            return
        stall.logged = True
        now = time.monotonic()
        place = culprit.file, culprit.function
        logged_at, unsaid = self._places.pop(place, (now - QUIET_S, 0))
        if now - logged_at < QUIET_S:
            self._places[place] = logged_at, unsaid + 1
            return
        if len(self._places) >= MAX_PLACES:
            del self._places[next(iter(self._places))]
        self._places[place] = now, 0
        logger.warning(
            "%s:%d, in %s, %s the event loop for at least %.0f ms, blocked in %s.%s "
            "Request: %s. Cure: %s.%s",
            culprit.file,
            culprit.line,
            culprit.function,
            "held" if stall.over else "is holding",
            ms,
            culprit.blocked_in,
            " No other thread ran either: a call kept the interpreter's lock, or the process"
            " was stopped."
            if stall.alone_s > stall.held_s / 2
            else "",
            culprit.request or "none that is known",
            culprit.cure,
            f" It did so {unsaid} more times since it was last named." if unsaid else "",
        )


# --- one loop ---------------------------------------------------------------------------------


class Watch:
    """One loop: the mark that was posted to it, and the stretch that holds it, if one does."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stall_s: float, explain: Explain
    ) -> None:
        now = time.monotonic()
        # What began and ended, requests and lifespans; written by the loop's thread only.
        self.entered = 0
        self.left = 0
        self.lifespans = 0
        self.rests = False  # no request is there, so marks are few
        self.lingers = True
        self.watched = True
        self.stall: Stretch | None = None  # to be logged
        self._loop = loop
        self._explain = explain
        self._stall_s = stall_s
        self._tick_s = min(max(stall_s / 2, MIN_LOOK_S), MAX_LOOK_S)
        self._stretch: Stretch | None = None
        self._used_at = now
        self._entered_before = 0  # when it was last asked whether it is over
        self._entered_then = 0  # when the mark was posted
        self._interval_s = self._tick_s
        # The stack on which the loop calls its callbacks: how deep it is, and where it begins.
        self._depth: int | None = None
        self._bottom: int | None = None
        self._thread_id = threading.get_ident()
        self._post(now, self._holds())
        self.due = now + self._tick_s

    def is_over(self) -> bool:
        """Tell whether there is nothing to watch any more. Only the thread asks."""
        if not self.watched or self._loop.is_closed():
            self.watched = False
            return True
        now = time.monotonic()
        running = self._loop.is_running()
        if running and (self.entered != self.left or self.entered != self._entered_before):
            self._used_at, self._entered_before = now, self.entered
        elif now - self._used_at > LINGER_S or (running and not self.lingers):
            self.watched = False
            if running and self.entered != self._entered_before:  # this very moment
                self.watched = True
        return not self.watched

    def is_due(self, now: float) -> bool:
        """Tell whether it is time for a look; it is too if a request ends a rest."""
        return now >= self.due or (self.due - now > self._tick_s and not self.rests)

    def look(self, now: float) -> float:
        """See what holds the loop, if anything; return the seconds until the next look."""
        if not self._loop.is_running():
            self.end()
            self._holder = None
            return self._tick_s
        # So late is this thread if the process was stopped, or a call kept the interpreter's
        # lock. It is handed over right after that call.
        late_s = now - self.due
        alone = late_s > self._stall_s
        since = self.due if alone else now
        holder = self._holds()
        if self._ran_at is not None:
            _dog.record.lag.add(max(self._ran_at - self._posted_at, 0.0), now)
            self.end()
            # Before the mark is posted: that may hand the lock back.
            if alone and holder is not None:
                self._see(holder, since, now, late_s)
            self._post(since, holder)
            return self._until_next()
        if holder is None:
            self.end(now)
            return self._tick_s
        if holder == self._holder:
            since = min(since, self._posted_at)
        stretch = self._see(holder, since, now, late_s if alone else 0.0)
        return min(max(self._tick_s / 2, MIN_LOOK_S, stretch.held_s / 16), MAX_LOOK_S)

    def _until_next(self) -> float:
        """Seconds to the next mark: more and more while there is no request."""
        serves = self.entered - self.left > self.lifespans or self.entered != self._entered_then
        self._entered_then = self.entered
        self._interval_s = (
            self._tick_s if serves else min(self._interval_s * 2, max(MAX_LOOK_S, self._tick_s))
        )
        self.rests = not serves
        return self._interval_s

    def _see(self, holder: object, since: float, now: float, alone_s: float) -> Stretch:
        """Note that `holder` holds the loop now, `since` then if it did not before."""
        stretch = self._stretch
        if stretch is None or stretch.holder != holder:
            self.end(now)
            stretch = self._stretch = Stretch(holder, since)
        stretch.alone_s += alone_s
        stretch.held_s = now - stretch.since
        if not stretch.logged:
            stretch.sample(now, self._frames(), self._explain)
            if stretch.held_s > max(LASTING_S, self._stall_s):
                self.stall = stretch
        return stretch

    def end(self, now: float | None = None) -> None:
        """End the stretch: when the mark ran, else `now`, else when it was last seen."""
        stretch, self._stretch = self._stretch, None
        at = self._ran_at or now
        if stretch is not None:
            stretch.over = True
            if at is not None:
                stretch.held_s = max(stretch.held_s, at - stretch.since)
            if stretch.held_s > self._stall_s:
                self.stall = stretch

    def _post(self, since: float, holder: object) -> None:
        """Post a mark. `holder` holds the loop, and has done so `since` then, if not longer."""
        self._ran_at: float | None = None
        self._posted_at = since
        self._holder = holder
        try:
            self._loop.call_soon_threadsafe(self._mark)
        except RuntimeError:  # closed this very moment
            self.watched = False

    def _mark(self) -> None:
        """What the loop calls."""
        self._thread_id = threading.get_ident()
        self._depth, self._bottom = _measured(sys._getframe().f_back)
        self._ran_at = time.monotonic()

    def _holds(self) -> object:
        """Identify what runs on the loop: a task's step, or a callback; None if it waits."""
        task = asyncio.current_task(self._loop)
        if task is not None:
            return id(task)
        if self._depth is None:
            return None
        frames = self._frames()
        return frames[-1].f_code if frames else None

    def _frames(self) -> list[FrameType]:
        """What runs on the loop's thread above the loop itself, innermost first."""
        frame = sys._current_frames().get(self._thread_id)
        depth, bottom = _measured(frame)
        # Code in a greenlet has a stack of its own, which the loop is not a part of.
        above = sys.maxsize
        if bottom == self._bottom and self._depth is not None:
            above = depth - self._depth
        frames: list[FrameType] = []
        while frame is not None and len(frames) < above:
            frames.append(frame)
            frame = frame.f_back
        return frames


def _measured(frame: FrameType | None) -> tuple[int, int]:
    """The depth of a stack, and the identity of its outermost frame."""
    depth, bottom = 0, None
    while frame is not None:
        depth, bottom, frame = depth + 1, frame, frame.f_back
    return depth, id(bottom)


_dog = Watchdog()


def _read() -> dict[str, Any]:
    return _dog.record.read()


metrics.source("loop", _read)


def _after_fork() -> None:
    global _dog  # noqa: PLW0603 - the thread and the loops are the parent's
    _dog = Watchdog()


os.register_at_fork(after_in_child=_after_fork)
