"""Hosts that have failed too often in a row are left alone for a while.

After that while one request tries the host, as a probe. This module waits for nothing and
knows no clock: `Circuits` is asked before a request, and told how it went.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onloop.http.errors import CircuitOpen

# Names of hosts may come from users: so many that have failed are remembered.
REMEMBERED = 1000


@dataclass(eq=False)
class _Host:
    failures: int = 0
    opened_at: float | None = None
    probe: Attempt | None = None


@dataclass(eq=False)
class Attempt:
    """One request to a host; told `answered`, `succeeded`, `failed` or `abandoned`."""

    host: str
    counted: bool = False


class Circuits:
    """The hosts of one client. `most`: failures in a row; 0 for any number."""

    def __init__(self, most: int, reset_s: float) -> None:
        self._most = most
        self._reset_s = reset_s
        self._hosts: dict[str, _Host] = {}  # only those that have failed

    def failing(self, now: float) -> list[dict[str, Any]]:
        """Return the hosts that have failed and not answered since, the last to fail last.

        `failures` in a row; `open`, whether it is left alone, and for how long (`wait_s`).
        """
        return [
            {
                "host": host,
                "failures": state.failures,
                "open": state.opened_at is not None,
                "wait_s": 0.0
                if state.opened_at is None
                else max(state.opened_at + self._reset_s - now, 0.0),
            }
            for host, state in list(self._hosts.items())
        ]

    def check(self, host: str, now: float) -> None:
        """Raise `CircuitOpen` if `host` must not be asked at the time `now`."""
        state = self._hosts.get(host)
        if state is None or state.opened_at is None:
            return
        wait_s = max(state.opened_at + self._reset_s - now, 0.0)
        if wait_s or state.probe is not None:
            raise CircuitOpen(host, wait_s, f"failed {state.failures} times in a row")

    def begin(self, host: str, now: float) -> Attempt:
        """Note that `host` is asked. Raises `CircuitOpen`."""
        self.check(host, now)
        attempt = Attempt(host)
        state = self._hosts.get(host)
        if state is not None and state.opened_at is not None:
            state.probe = attempt
        return attempt

    def answered(self, attempt: Attempt) -> None:
        """It has begun to answer: others may ask too, but one more failure is one too many."""
        state = self._hosts.get(attempt.host)
        if state is not None and state.probe is attempt:
            state.probe = state.opened_at = None
            state.failures = max(self._most - 1, 0)

    def succeeded(self, attempt: Attempt) -> None:
        """It has answered to the end."""
        self.answered(attempt)
        state = self._hosts.get(attempt.host)
        if not attempt.counted and state is not None and state.opened_at is None:
            del self._hosts[attempt.host]
        attempt.counted = True

    def failed(self, attempt: Attempt, now: float) -> None:
        """It did not answer, or with an error of its own."""
        if attempt.counted or not self._most:
            return
        attempt.counted = True
        state = self._hosts.pop(attempt.host, None) or _Host()
        self._hosts[attempt.host] = state  # the last in line to be forgotten
        if state.opened_at is not None and state.probe is not attempt:
            return  # it began before
        state.probe = None
        state.failures += 1
        if state.failures >= self._most:
            state.opened_at = now
        if len(self._hosts) > REMEMBERED:
            del self._hosts[next(iter(self._hosts))]

    def abandoned(self, attempt: Attempt) -> None:
        """The caller gave it up: nothing is known of the host."""
        attempt.counted = True
        state = self._hosts.get(attempt.host)
        if state is not None and state.probe is attempt:
            state.probe = None  # the next one is the probe
