"""The tasks that a Celery worker runs, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import time

import onloop
from onloop.tasks import progress, should_stop
from tests.project.library.models import Author

try:
    from django.tasks import task
except ImportError:  # before Django 6.0
    from django_tasks import task

DEADLINE_S = 90


@task(backend="celery")
def add(a, b):
    return a + b


@task(backend="celery")
async def aadd(a, b):
    await asyncio.sleep(0)
    return a + b


@task(backend="celery")
async def loop_of(name):
    """Which loop it is, in which process, and what kind of code."""
    await Author.objects.acreate(name=name)
    return [
        os.getpid(),
        id(asyncio.get_running_loop()),
        onloop.where(),
        len(Author.objects.filter(name=name)),
    ]


@task(backend="celery", takes_context=True)
def in_context(context, word):
    return [context.task_result.id, context.attempt, str(context.task_result.status), word]


@task(backend="celery")
async def fail(words):
    raise LookupError(words)


@task(backend="celery")
def fail_in_thread(words):
    raise LookupError(words)


@task(backend="celery")
def note(name):
    Author.objects.create(name=name)


@task(backend="celery")
async def count(total, pause_s):
    for done in range(1, total + 1):
        await progress(done, total, f"{done} of {total}")
        await asyncio.sleep(pause_s)
    return total


@task(backend="celery")
def count_in_thread(total, pause_s):
    for done in range(1, total + 1):
        progress(done, total, f"{done} of {total}")
        time.sleep(pause_s)
    return total


def _wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@task(backend="celery")
def hold_when_told():
    """Until it has heard that it was cancelled, and then until the test lets it go."""
    _wait_until(should_stop)
    Author.objects.create(name="told")
    _wait_until(Author.objects.filter(name="go").exists)


@task(backend="celery")
def returns_when_told():
    _wait_until(should_stop)
    Author.objects.create(name="told")


@task(backend="celery")
async def for_ever_in_silence():
    try:
        await asyncio.sleep(3600)
    finally:
        await Author.objects.acreate(name="told")


@task(backend="celery")
def die_once(name):
    """Kills its process the first time."""
    if Author.objects.filter(name=name).exists():
        return "done"
    Author.objects.create(name=name)
    os.kill(os.getpid(), 9)
    return None


@task(backend="celery")
async def meet(number, total):
    """Returns when `total` of them are there at once."""
    await Author.objects.acreate(name=f"there: {number}")
    async with asyncio.timeout(DEADLINE_S):
        while await Author.objects.filter(name__startswith="there: ").acount() < total:
            await asyncio.sleep(0.05)
    return onloop.where()


@task(backend="celery")
async def for_ever():
    await progress(1)
    try:
        await asyncio.sleep(3600)
    finally:
        await Author.objects.aget_or_create(name="cleaned up")  # it may run twice
