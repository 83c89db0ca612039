"""One core for the contender, the others for PostgreSQL."""

import os


def pin(cores: list[int]) -> None:
    """Keep this process, and those it starts from now on, on these cores."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def share_out(wanted: bool = True) -> tuple[list[int], list[int]]:
    """The cores for contenders and for PostgreSQL; empty lists where nothing can be pinned."""
    if not wanted or not hasattr(os, "sched_getaffinity"):
        return [], []
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return [], []
    return cores[-1:], cores[:-1]


def stolen() -> float | None:
    """Seconds in which this machine wanted to run and its host did not let it, since boot."""
    try:
        with open("/proc/stat") as stat:
            ticks = int(stat.readline().split()[8])
    except (OSError, IndexError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")
