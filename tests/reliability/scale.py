"""How much the reliability tests run: a short form in `make test`, the full figures in a soak.

`ONLOOP_RELIABILITY_SCALE`: a factor for all sizes (default 1), or `full` for the figures that
stand at the head of each module. `ONLOOP_RELIABILITY_SEEDS`: how many seeds (default 3), or
`7:27` for those from 7 to 26. The code that runs is the same at every scale.
"""

from __future__ import annotations

import os

_SCALE = os.environ.get("ONLOOP_RELIABILITY_SCALE", "1")
_SEEDS = os.environ.get("ONLOOP_RELIABILITY_SEEDS", "3")
# What a row says of times is judged in the full form only, which has a machine of its own. The
# short one must hold on a machine that is slow, or stops for a second: it judges order, counts
# and states, and tells what it measured.
FULL = _SCALE == "full"
SHORT = _SCALE == "1"


def size(short: int, *, full: int) -> int:
    """Return how many of something this run takes."""
    if FULL:
        return full
    return max(1, round(short * float(_SCALE)))


def _seeds() -> range:
    if ":" in _SEEDS:
        first, end = _SEEDS.split(":")
        return range(int(first), int(end))
    return range(int(_SEEDS))


SEEDS = _seeds()
# pytest's limit for a test, and what a harness gives its tasks before it says that they hang:
# twenty times what the longest of the short forms takes.
LONG_S = 300 if SHORT else 7200
HANG_S = 0.75 * LONG_S
# The same for a single step, or a state that must come.
PATIENCE_S = 120.0
# Seconds after which nothing may be left behind.
RULE_S = 30.0 if SHORT else 5.0
