"""Waiting in synchronous tests, with a deadline that is generous."""

from __future__ import annotations

import time

DEADLINE_S = 90


def wait_until(condition):
    """Return what `condition()` returns, once that is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "It did not come to that."
        time.sleep(0.02)
    return found


def row_when(job_id, condition):
    """Return the row of a job, once there is one for which `condition(row)` is true."""
    from onloop.tasks.models import Job

    def look():
        row = Job.objects.filter(pk=job_id).first()
        return row if row is not None and condition(row) else None

    return wait_until(look)
