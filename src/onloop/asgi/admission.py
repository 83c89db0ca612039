"""How many requests are served at once, how many may wait for that, and when none is left.

Beyond both, a request is refused at once: a server that takes on more than it can do answers
nobody in time. The hand-over is a plain call, so a slot cannot be lost by a cancellation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

from onloop import conf, metrics
from onloop.bridge import await_
from onloop.waiting import Waiter

logger = logging.getLogger("onloop.asgi")

# Seconds between two lines in the log that say how many requests were refused.
TOLD_EVERY_S = 10.0


class Overloaded(Exception):
    """There is no slot for the request, or none in time."""


class Admission:
    """The slots of an event loop, by `ONLOOP["MAX_REQUESTS"]`; who waits is served in order."""

    def __init__(self) -> None:
        self._served = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._refused = 0  # since it was told
        self.refused = 0
        self._told_at = -TOLD_EVERY_S
        self._present = 0
        self._empty: Waiter[None] | None = None

    # --- from its beginning to its very end ---------------------------------------------------

    def arrive(self) -> None:
        """Count a request, which may have no slot, or no more; or a message of a socket."""
        self._present += 1

    def depart(self) -> None:
        """Count it out, once nothing of it runs any more."""
        self._present -= 1
        if not self._present and self._empty is not None:
            self._empty.set(None)
            self._empty = None

    def until_empty(self, timeout_s: float) -> int:
        """Wait in a bridge until none is present; return how many are after `timeout_s`."""
        if self._present:
            self._empty = empty = Waiter[None]()
            empty.wait(timeout_s)
        return self._present

    def stats(self) -> dict[str, int]:
        """`present`: requests and messages under way; the rest is of requests alone."""
        return {
            "present": self._present,
            "served": self._served,
            # Of a copy, which is made at once: another thread may ask.
            "waiting": sum(not slot.done() for slot in self._waiting.copy()),
            "refused": self.refused,
        }

    # --- slots --------------------------------------------------------------------------------

    def enter(self) -> None:
        """Take a slot; in a bridge, wait for one.

        Raises `Overloaded` if too many wait already, or after `ONLOOP["QUEUE_TIMEOUT"]`.
        """
        if not self.is_full:
            self._served += 1
            return
        settings = conf.get()
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= settings.MAX_QUEUE:
            self._refuse(loop.time())
        slot = loop.create_future()
        self._waiting.append(slot)
        timer = loop.call_later(settings.QUEUE_TIMEOUT, self._give_up, slot)
        try:
            await_(slot)
        except BaseException:
            if slot.done() and not slot.cancelled() and slot.exception() is None:
                self.leave()  # it was given a slot that it cannot use any more
            raise
        finally:
            timer.cancel()
            if slot in self._waiting:
                self._waiting.remove(slot)

    @property
    def is_full(self) -> bool:
        """Whether the next one has to wait, or is refused."""
        return self._served >= conf.get().MAX_REQUESTS

    def leave(self) -> None:
        """Give the slot back, or to the one who has waited longest."""
        while self._waiting:
            slot = self._waiting.popleft()
            if not slot.done():
                slot.set_result(None)
                return
        self._served -= 1

    def _give_up(self, slot: asyncio.Future[None]) -> None:
        if slot.done():
            return
        try:
            self._refuse(slot.get_loop().time())
        except Overloaded as exc:
            slot.set_exception(exc)

    def _refuse(self, now: float) -> None:
        self._refused += 1
        self.refused += 1
        if now - self._told_at >= TOLD_EVERY_S:
            logger.warning(
                "Overloaded: %d requests are served and %d wait, by ONLOOP['MAX_REQUESTS'] and "
                "['MAX_QUEUE']. Refused with 503: %d.",
                self._served,
                len(self._waiting),
                self._refused,
            )
            self._told_at, self._refused = now, 0
        raise Overloaded


_admissions: WeakKeyDictionary[asyncio.AbstractEventLoop, Admission] = WeakKeyDictionary()


def admission_of(loop: asyncio.AbstractEventLoop) -> Admission:
    """Return the slots of `loop`."""
    try:
        return _admissions[loop]
    except KeyError:
        admission = _admissions[loop] = Admission()
        return admission


class Answered:
    """How long the answers of this process took to begin, and what they said."""

    __slots__ = ("left", "statuses", "times")

    def __init__(self) -> None:
        self.times = metrics.Window()
        self.statuses = [0] * 10  # by their first digit
        self.left = 0  # requests that were not answered: their clients left, or they were cut

    def add(self, began: float, status: int) -> None:
        """Count an answer with `status` to a request of the monotonic time `began`."""
        now = time.monotonic()
        self.times.add(now - began, now)
        self.statuses[status // 100 % 10] += 1


answered = Answered()


def _read() -> dict[str, Any]:
    totals = dict.fromkeys(Admission().stats(), 0)
    for admission in list(_admissions.values()):
        for name, number in admission.stats().items():
            totals[name] += number
    statuses = {f"{digit}xx": answered.statuses[digit] for digit in range(1, 6)}
    times = answered.times.read()
    return {**totals, "unanswered": answered.left, "statuses": statuses, "times": times}


metrics.source("requests", _read)
