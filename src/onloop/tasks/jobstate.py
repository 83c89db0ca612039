"""What is told of a job: a value that is the same from memory, the database and a socket."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

Status = Literal["READY", "RUNNING", "SUCCESSFUL", "FAILED", "CANCELLED", "LOST"]

FINISHED = ("SUCCESSFUL", "FAILED", "CANCELLED")
MAX_NOTE = 500
# Seconds without news of a process, which tells some every 15 s, until its jobs count as lost.
LOST_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A job at one moment.

    `name`: the path of its function. `done` of `total`: in whatever the job counts; `total` is
    None if it does not know. `owner_id`: the primary key of the user it belongs to, or None.
    `status` is that of Django's results, "CANCELLED" where they say "FAILED", and "LOST" if
    nothing was heard for `LOST_S` seconds of the process that has the job. That is no end: it
    may be heard of again.
    """

    id: str
    name: str
    status: Status = "READY"
    done: float = 0
    total: float | None = None
    note: str = ""
    owner_id: Any = None
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    def public(self) -> dict[str, Any]:
        """What clients are told: JSON without the owner."""
        told = asdict(self)
        del told["owner_id"]
        for name in ("created", "started", "finished"):
            told[name] = told[name] and told[name].isoformat()
        return told
