"""What the machine is: processors and memory, and nothing that names it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def described() -> str:
    """Return such as "2 x Some Processor, 8 GB"."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = _value("/proc/cpuinfo", "model name") or platform.machine()
    memory = _value("/proc/meminfo", "MemTotal").split()
    size = f", {round(int(memory[0]) / 2**20)} GB" if memory else ""
    return f"{count} x {model}{size}"


def _value(file: str, name: str) -> str:
    """Return the first value of that name in a file of `name: value` lines, or ""."""
    try:
        text = Path(file).read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        found, _, value = line.partition(":")
        if found.strip() == name:
            return value.strip()
    return ""
