"""The tasks that tests enqueue. `stage` is what they and the tests share."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from django.db import connection, transaction
from django.utils import translation

import onloop
from onloop.tasks import acancel, progress, should_stop
from onloop.tasks.reports import current_job
from tests.project.library.models import Author

try:
    from django.tasks import task
except ImportError:  # before Django 6.0
    from django_tasks import task

DEADLINE_S = 90


class Stage:
    """What happens in jobs, as tests see it, and what lets them go on."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.running = 0
        self.most = 0
        self.go = threading.Event()

    async def until(self, condition) -> None:
        """Wait until `condition()` is true; whatever thread makes it so."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.005)

    def enter(self, name: Any) -> None:
        self.seen.append(name)
        self.running += 1
        self.most = max(self.most, self.running)

    def leave(self) -> None:
        self.running -= 1


stage = Stage()


@task
def add(a, b):
    return a + b


@task
async def aadd(a, b):
    await asyncio.sleep(0)
    return a + b


@task
async def write(name):
    """Row by row, as a coroutine in a bridge may."""
    author = await Author.objects.acreate(name=name)
    return len(Author.objects.filter(pk=author.pk))


@task
def write_in_thread(name):
    Author.objects.create(name=name)
    return [threading.current_thread() is threading.main_thread(), onloop.where()]


@task
@onloop.on_loop
def write_on_loop(name):
    Author.objects.create(name=name)
    return onloop.where()


@task
async def hold(name="held"):
    """Until the test lets it go."""
    stage.enter(name)
    try:
        await stage.until(stage.go.is_set)
    finally:
        stage.leave()
    return name


@task
def hold_in_thread(name="held"):
    stage.enter(name)
    try:
        stage.go.wait(DEADLINE_S)
    finally:
        stage.leave()
    return name


@task
async def note(name):
    stage.seen.append(name)


@task(takes_context=True)
def in_context(context, word):
    return [context.task_result.id, context.attempt, str(context.task_result.status), word]


@task
async def fail(words):
    raise LookupError(words)


@task
def exit_(code):
    raise SystemExit(code)


@task
async def unsayable():
    return object()


@task
async def language():
    return translation.get_language()


@task
async def in_a_block(name):
    """Reports from within a transaction."""
    async with transaction.atomic():
        await Author.objects.acreate(name=name)
        await progress(1, 2, "inside")
        stage.enter("inside")
        await stage.until(stage.go.is_set)
    await progress(2, 2, "outside")


@task
async def reports_in_a_block_only():
    async with transaction.atomic():
        await Author.objects.acreate(name="in a block")
        await progress(1, 2, "inside")
        stage.enter("inside")
        await stage.until(lambda: "leave" in stage.seen)
    await stage.until(stage.go.is_set)


@task
async def stands_in_a_block():
    return connection.in_atomic_block


@task
async def report(count):
    for done in range(1, count + 1):
        await progress(done, count, f"row {done}")
    return count


@task
async def report_and_hold(done, total):
    await progress(done, total, "holding")
    stage.enter("reported")
    await stage.until(stage.go.is_set)


@task
def report_in_thread(rounds):
    """Until it is told to stop, at most so many times."""
    for done in range(rounds):
        stage.seen.append(done)
        progress(done, rounds, "in a thread")
        stage.go.wait(0.02)
    return rounds


@task
def look_in_thread():
    stage.enter("looking")
    while not should_stop() and not stage.go.wait(0.02):
        pass
    return "stopped" if should_stop() else "let go"


@task
@onloop.on_loop
def look_on_loop():
    stage.enter("looking")
    while not should_stop() and not stage.go.is_set():
        pass
    return "stopped" if should_stop() else "let go"


@task
def hold_when_told():
    """Until it has heard that it was cancelled, and then until the test lets it go."""
    stage.enter("working")
    while not should_stop() and not stage.go.wait(0.02):
        pass
    stage.seen.append("told")
    stage.go.wait(DEADLINE_S)


@task
async def is_told_to_stop_at_its_end():
    current_job.get().ask_to_stop()
    return "ended"


@task
async def cleans_up():
    stage.enter("working")
    try:
        await stage.until(stage.go.is_set)
    except asyncio.CancelledError:
        await Author.objects.acreate(name="cleaned up")
        raise


@task
async def reports_while_it_cleans_up():
    stage.enter("working")
    try:
        await stage.until(stage.go.is_set)
    except asyncio.CancelledError:
        for done in range(20):
            await progress(done, 20)
            await asyncio.sleep(0.05)
        stage.seen.append("cleaned up")
        raise


@task
async def cleans_up_for_long():
    stage.enter("working")
    try:
        await asyncio.sleep(3600)
    finally:
        stage.seen.append("cleaning up")
        await stage.until(stage.go.is_set)
        stage.seen.append("cleaned up")


@task
async def enqueues(name):
    await note.aenqueue(name)


@task
async def reports_and_fails_in_a_block():
    async with transaction.atomic():
        await progress(1, 2, "in vain")
        raise LookupError("rolled back")


@task
async def report_with(note):
    await progress(1, 2, note)


@task
async def reports_in_parts():
    await progress(1, 10)
    await progress(2, note="x" * 600)


@task
@onloop.on_loop
def report_on_loop(rounds):
    for done in range(rounds):
        stage.seen.append(done)
        progress(done, rounds)
        Author.objects.count()
    return rounds


@task
async def report_for_ever():
    done = 0
    while not stage.go.is_set():
        done += 1
        await progress(done)
        stage.seen.append(done)
        await asyncio.sleep(0.02)


@task(takes_context=True)
async def cancels_itself(context):
    stage.seen.append(await acancel(context.task_result.id))
    await stage.until(stage.go.is_set)


@task
async def works(name):
    await progress(0, 2)
    async with transaction.atomic():
        await Author.objects.acreate(name=f"{name} a")
        await progress(1, 2)
        await Author.objects.acreate(name=f"{name} b")
        await progress(2, 2)


@task
def works_in_thread(name):
    progress(0, 2)
    with transaction.atomic():
        Author.objects.create(name=f"{name} a")
        progress(1, 2)
        Author.objects.create(name=f"{name} b")
        progress(2, 2)


@task
async def slow(name):
    await asyncio.sleep(0.2)
    await Author.objects.acreate(name=name)


@task
async def never():
    print("begun", flush=True)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise


@task
@onloop.on_loop
def block_on_loop(seconds):
    time.sleep(seconds)


@task
def block(seconds):
    time.sleep(seconds)


@task
async def ablock(seconds):
    time.sleep(seconds)
