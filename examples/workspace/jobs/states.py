"""How a piece of work stands: its row, and the last state of its job."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.models import Work
from onloop.tasks.models import Job

LABELS = {
    "READY": "waiting",
    "RUNNING": "running",
    "SUCCESSFUL": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class Shown:
    work: Work
    job: Job | None

    @property
    def is_going(self) -> bool:
        return self.job is not None and self.job.finished is None and not self.job.is_lost

    @property
    def label(self) -> str:
        if self.work.problem:
            return "refused"
        if self.job is None:
            # States of old jobs may have been deleted.
            return "ended" if self.work.job else "not begun"
        return "lost" if self.job.is_lost else LABELS[self.job.status]

    @property
    def may_cancel(self) -> bool:
        return self.job is not None and self.job.finished is None

    @property
    def may_retry(self) -> bool:
        return self.label in ("not begun", "failed", "cancelled", "lost")

    @property
    def part(self) -> float | None:
        """From 0 to 1, or None where nobody knows."""
        if self.job is None or not self.job.total:
            return None
        return min(1.0, self.job.done / self.job.total)


async def shown(works: Sequence[Work]) -> list[Shown]:
    """Each with its job. What a job has written of its work is there once it has ended."""
    jobs = await Job.objects.ain_bulk([work.job for work in works if work.job])
    # One that has ended since its work was read has written more of it.
    untold = [work for work in works if work.told < work.attempt]
    ended = [work.pk for work in untold if work.job in jobs and jobs[work.job].finished]
    now = await Work.objects.select_related("outcome").ain_bulk(ended) if ended else {}
    for work in works:
        if (newest := now.get(work.pk)) and newest.job == work.job:
            for field in ("problem", "result", "outcome"):
                setattr(work, field, getattr(newest, field))
    return [Shown(work, jobs.get(work.job)) for work in works]
