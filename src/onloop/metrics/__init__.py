"""What this process does, in numbers: `read()` (docs/metrics.md).

Parts of Onloop count for themselves and register here how their counts are read, so a part that
is not in use is not in the numbers. Nothing runs in the background. This package must import
none of those parts.
"""

from __future__ import annotations

from onloop.metrics.process import name_of_process
from onloop.metrics.sources import read, source
from onloop.metrics.window import BOUNDS_S, Window

__all__ = ["BOUNDS_S", "Window", "name_of_process", "read", "source"]
