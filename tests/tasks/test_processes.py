"""Processes that have no server: a thread of their own runs the jobs, to their end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from onloop.tasks.models import Job
from tests.postgres import ROOT
from tests.project.library.models import Author

TIMEOUT_S = 90
APPLICATION_NAME = "onloop-process"


def start(name, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.tasks.process", name, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PGAPPNAME": APPLICATION_NAME,
            "ONLOOP_TEST_TASKS": json.dumps(options),
            "ONLOOP_TEST_ONLOOP": '{"STALL_MS": 0}',  # a busy machine says nothing
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(name, *arguments, **options):
    with start(name, *arguments, **options) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    return process.returncode, out, err


def names():
    return sorted(Author.objects.values_list("name", flat=True))


def test_a_command_ends_when_its_jobs_have(db_clean):
    code, out, err = run("command")
    assert (code, out, err) == (0, "command ends\n", "")
    assert names() == [f"{kind} {number}" for kind in ("async", "sync") for number in range(3)]


def test_a_loop_for_a_single_call_has_no_jobs(db_clean):
    code, out, err = run("one_call")
    assert (code, out, err) == (0, "view ends\n", "")
    assert names() == ["from a view"]


def test_a_program_with_a_loop_of_its_own_drains_it(db_clean):
    code, out, err = run("own_main", max_running=1)
    assert code == 0, err
    assert "onloop-tasks" not in out
    assert names() == ["patient", "patient too"]
    assert "was destroyed but it is pending" not in err
    assert "never awaited" not in err
    assert "0 jobs that ran and 1 that waited are cancelled" in err


def test_ctrl_c_cancels_what_a_command_waits_for_at_its_end(db_clean):
    with start("for_ever") as process:
        try:
            told = ""
            while not ("begun" in told and "Ctrl-C cancels them" in told):
                line = process.stdout.readline()
                assert line, told + process.stderr.read()
                told += line
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert "cancelled" in out, err
    assert "1 jobs that ran and 0 that waited are cancelled" in out


def test_a_forked_child_has_jobs_of_its_own(db_clean):
    code, _, err = run("forks")
    assert code == 0, err
    assert names() == ["child", "parent"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_server_has_jobs_of_its_own_too(db_clean):
    code, out, err = run("serving_forks")
    assert (code, out) == (0, "0\n"), err
    assert names() == ["child"]


@pytest.mark.parametrize("delayed", [False, True], ids=["ready", "delayed"])
async def test_a_job_that_waits_and_is_cancelled_by_another_process_never_begins(
    jobs, options, stage, ended, delayed
):
    options(max_running=1)
    held = await jobs.hold.aenqueue()
    await stage.until(lambda: stage.running)
    task = jobs.note
    if delayed:
        task = task.using(run_after=timezone.now() + timedelta(seconds=1))
    result = await task.aenqueue("never")
    code, out, err = await asyncio.to_thread(run, "cancels", result.id)
    assert (code, out) == (0, "True\n"), err
    stage.go.set()
    await ended(held)
    await ended(result)
    assert stage.seen == ["held"]
    assert (result.started_at, str(result.status)) == (None, "FAILED")
    assert (await Job.objects.aget(pk=result.id)).status == "CANCELLED"
