"""The process itself: who it is, its threads, its memory, its time."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

_STARTED_AT = time.time()
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
_STATM = Path("/proc/self/statm")


def name_of_process() -> str:
    """Return "host:pid", which tells processes of one service from each other."""
    return f"{socket.gethostname()}:{os.getpid()}"


def read_process() -> dict[str, Any]:
    """Return its name, and what it takes now.

    `at` is the calendar's time, `clock` a monotonic one, for differences. `memory_bytes` is
    what is resident, None where the system does not tell (only Linux does).
    """
    return {
        "name": name_of_process(),
        "pid": os.getpid(),
        "at": time.time(),
        "clock": time.monotonic(),
        "started_at": _STARTED_AT,
        "cpu_s": time.process_time(),
        "threads": threading.active_count(),
        "memory_bytes": _resident(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def _resident() -> int | None:
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None
