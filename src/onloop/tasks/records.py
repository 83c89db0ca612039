"""Reading and writing the rows of jobs: plain functions, for a bridge or a thread.

`save` must be called outside of any transaction: others are to see the row at once.
"""

from __future__ import annotations

from typing import NamedTuple

from django.apps import apps
from django.db import router, transaction
from django.db.models import Q
from django.utils import timezone

from onloop.tasks.jobstate import FINISHED, State

# Ids in one statement.
AT_ONCE = 500
FIELDS = ("status", "done", "total", "note", "started", "finished")


def are_kept() -> bool:
    """Whether the project has the table."""
    return apps.is_installed("onloop.tasks")


def insert(state: State, worker: str = "") -> None:
    """Write a job that was enqueued, in the caller's transaction if it stands in one.

    `worker`: the process that has it. If the job was quicker, its row is left alone.
    """
    from onloop.tasks.models import Job  # noqa: PLC0415 - the app may be not installed

    alias = router.db_for_write(Job)
    with transaction.atomic(using=alias):  # a failure must not break the caller's
        Job.objects.using(alias).bulk_create([_row(state, worker)], ignore_conflicts=True)


class Saved(NamedTuple):
    """What came of `save`."""

    is_told: bool  # the row says so now
    is_stopped: bool  # the job goes on, and was asked to stop


def save(state: State, worker: str = "") -> Saved:
    """Write how far a job is, in the process `worker`, unless others know more by now."""
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    rows = _behind(state)
    values = {name: getattr(state, name) for name in FIELDS} | {"worker": worker[:255]}
    is_told = bool(rows.update(updated=timezone.now(), **values))
    if not is_told:
        jobs = Job.objects.using(rows.db)
        jobs.bulk_create([_row(state, worker)], ignore_conflicts=True)
        # There may have been one, also since the first statement.
        is_told = bool(rows.update(updated=timezone.now(), **values))
    return Saved(is_told, not state.is_finished and _is_stopped(state.id))


def _behind(state: State) -> JobQuerySet:  # type: ignore[name-defined]  # noqa: F821
    """The job's row, if what it says is not after `state`: no job goes backwards.

    Of several attempts, as Celery makes them, the one that began last is told of until one has
    ended; one that begins after an end is told of again, but for that of who cancelled the job.
    An end is told of always, since the job knows what it has done.
    """
    from onloop.tasks.models import Job, JobQuerySet  # noqa: PLC0415 - see above

    rows = JobQuerySet(Job, using=router.db_for_write(Job)).filter(pk=state.id)
    if state.is_finished:
        return rows
    if state.started is None:
        return rows.filter(status="READY")
    return rows.exclude(
        Q(status="CANCELLED") | Q(started__gt=state.started) | Q(finished__gte=state.started)
    )


def touch(job_ids: list[str]) -> list[str]:
    """Note that the process which has these jobs is there; return those that shall stop."""
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    stopped: list[str] = []
    for first in range(0, len(job_ids), AT_ONCE):
        some = job_ids[first : first + AT_ONCE]
        jobs = Job.objects.using(router.db_for_write(Job)).filter(pk__in=some)
        jobs.exclude(status__in=FINISHED).update(updated=timezone.now())
        stopped += jobs.filter(stop=True).values_list("pk", flat=True)
    return stopped


def is_stopped(job_id: str) -> bool:
    """Whether somebody has cancelled the job, which may be told so before it begins."""
    return are_kept() and _is_stopped(job_id)


def _is_stopped(job_id: str) -> bool:
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    jobs = Job.objects.using(router.db_for_write(Job))
    return jobs.filter(pk=job_id, stop=True).exists()


def ask_to_stop(job_id: str) -> bool:
    """Note that a job shall stop; one that has not begun, or is lost, is cancelled by that.

    Returns False if there is none, or if it has ended.
    """
    from onloop.tasks.models import Job, JobQuerySet  # noqa: PLC0415 - see above

    now = timezone.now()
    jobs = JobQuerySet(Job, using=router.db_for_write(Job)).filter(pk=job_id)
    cancelled = {"stop": True, "status": "CANCELLED", "finished": now, "updated": now}
    if jobs.filter(status="READY").update(**cancelled) or jobs.lost().update(**cancelled):
        return True
    return bool(jobs.filter(~Q(status__in=FINISHED)).update(stop=True))


def read(job_id: str) -> State | None:
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        return None
    values = {name: getattr(job, name) for name in FIELDS}
    if job.is_lost:
        values["status"] = "LOST"
    return State(
        id=job.id,
        name=job.name,
        owner_id=job.owner_id,  # type: ignore[attr-defined]  # by Django
        created=job.created,
        **values,
    )


def _row(state: State, worker: str) -> Job:  # type: ignore[name-defined]  # noqa: F821
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    return Job(
        id=state.id,
        name=state.name[:255],
        owner_id=state.owner_id,
        created=state.created,
        worker=worker[:255],
        **{name: getattr(state, name) for name in FIELDS},
    )
