"""What goes wrong with jobs, by name."""

from __future__ import annotations

import asyncio

from onloop.errors import OnloopError


class QueueFull(OnloopError):
    """As many jobs wait as `OPTIONS["max_queued"]` allows: this one was not taken."""


class QueueClosed(OnloopError):
    """The process ends, or its event loop did: this job was not taken."""


class JobCancelled(asyncio.CancelledError):
    """Somebody cancelled the job; raised in it by `progress()`, and kept as its error.

    As `asyncio.CancelledError` it is no `Exception`: code that handles errors lets it pass.
    """
