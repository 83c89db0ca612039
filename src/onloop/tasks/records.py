"""Reading and writing the rows of jobs: plain functions, for a bridge or a thread.

`save` must be called outside of any transaction: others are to see the row at once.
"""

from __future__ import annotations

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


def save(state: State, worker: str = "") -> bool:
    """Write how far a job is, in the process `worker`; return whether it was asked to stop."""
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    alias = router.db_for_write(Job)
    jobs = Job.objects.using(alias)
    values = {name: getattr(state, name) for name in FIELDS} | {"worker": worker[:255]}
    if jobs.filter(pk=state.id).update(updated=timezone.now(), **values):
        return not state.is_finished and _is_stopped(state.id)
    jobs.bulk_create(
        [_row(state, worker)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=[*FIELDS, "worker", "updated"],
    )
    return False


def touch(job_ids: list[str]) -> None:
    """Note that the process which has these jobs is there."""
    from onloop.tasks.models import Job  # noqa: PLC0415 - see above

    jobs = Job.objects.using(router.db_for_write(Job)).exclude(status__in=FINISHED)
    for first in range(0, len(job_ids), AT_ONCE):
        jobs.filter(pk__in=job_ids[first : first + AT_ONCE]).update(updated=timezone.now())


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

    if "\0" in job_id:  # no id has one, and PostgreSQL refuses to look for it
        return None
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
