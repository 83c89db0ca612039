"""Tasks as projects and reusable apps write them."""

import asyncio
import os
import threading
import time

from asgiref.sync import sync_to_async
from celery import current_task, group, shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import connection, transaction
from django.utils import translation

import onloop
from tests.celery.gates import arrive, arrive_blocking, note
from tests.project.library.models import Author


def _place() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "loop": id(asyncio.get_running_loop()),
        "kind": type(asyncio.get_running_loop()).__module__,
        "where": onloop.where(),
        "thread": threading.current_thread().name,
    }


@shared_task
async def add(x, y):
    await asyncio.sleep(0)
    return x + y


@shared_task
async def total(numbers):
    await asyncio.sleep(0)
    return sum(numbers)


@shared_task
async def fail(text):
    await asyncio.sleep(0)
    raise ValueError(text)


@shared_task
async def wait(gate):
    await arrive(gate)
    return _place()


@shared_task(acks_late=True)
async def wait_late(gate):
    await note(gate, "begun")
    await arrive(gate)


@shared_task
async def wait_early(gate):
    await note(gate, "begun")
    await arrive(gate)


@shared_task
async def write(name, gate, then="commit"):
    """A row in a block that is open while the others' are."""
    async with transaction.atomic():
        await Author.objects.acreate(name=name)
        await arrive(gate)
        seen = await Author.objects.filter(name__startswith="in a task").acount()
        if then == "fail":
            raise ValueError(name)
    return seen


@shared_task
async def write_here(name):
    """Without Redis, so that it can run in the test's own process."""
    async with transaction.atomic():
        author = await Author.objects.acreate(name=name)
        async with transaction.atomic():
            author.name += "!"
            author.save()
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
    return await Author.objects.acount()


@shared_task(acks_late=True)
async def write_late(name, gate):
    await note(gate, "begun")
    async with transaction.atomic():
        await Author.objects.acreate(name=name)
        await arrive(gate)


@shared_task
async def read(name):
    author = await Author.objects.acreate(name=name)
    plain = Author.objects.get(pk=author.pk)  # without an await
    return {"name": plain.name, **_place()}


async def _until_row(name):
    await Author.objects.acreate(name=f"begun {name}")
    while not await Author.objects.filter(name=f"go {name}").aexists():
        await asyncio.sleep(0.02)


@shared_task
async def wait_without_redis(name):
    """Waits for a row of the database."""
    await _until_row(name)


@shared_task
async def send_many(queue):
    """Many groups at once, of many tasks."""

    async def send():
        return [
            result.id for result in group(add.s(n, n).set(queue=queue) for n in range(20))()
        ]

    return [each for ids in await asyncio.gather(*(send() for _ in range(15))) for each in ids]


@shared_task(bind=True)
async def whoami(self, gate):
    """Its own request, before and after the others have run, in a child and in a thread."""
    seen = [self.request.id]
    await arrive(gate)
    seen.append(self.request.id)

    async def child():
        await asyncio.sleep(0)
        return current_task.request.id

    seen += await asyncio.gather(child(), child())
    seen.append(await asyncio.wait_for(child(), 60))
    seen.append(await sync_to_async(lambda: self.request.id)())
    return seen


@shared_task
async def speak(language, gate):
    before = translation.get_language()
    translation.activate(language)
    await arrive(gate)
    return [before, translation.get_language()]


@shared_task(bind=True, max_retries=3)
async def retry_twice(self, gate):
    await note(gate, "tried")
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@shared_task(autoretry_for=(ValueError,), retry_kwargs={"countdown": 0, "max_retries": 2})
async def retry_by_itself(gate):
    await note(gate, "tried")
    raise ValueError("again")


@shared_task
async def until_soft_limit(gate):
    try:
        await note(gate, "waits")
        await asyncio.gather(asyncio.sleep(600), asyncio.sleep(600))
    except SoftTimeLimitExceeded:
        async with transaction.atomic():  # there is time to clean up
            await Author.objects.acreate(name=f"cleaned {gate}")
        return "cleaned"


@shared_task
async def ignore_soft_limit(gate):
    await note(gate, "begun")
    await asyncio.sleep(600)


@shared_task
async def query_until_limit(gate):
    async with transaction.atomic():
        await Author.objects.acreate(name=f"rolled back {gate}")
        await note(gate, "begun")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(600)")


@shared_task(acks_late=True)
async def stubborn(gate):
    """It catches its cancellation, and goes on."""
    await note(gate, "begun")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        await note(gate, "cancelled")
    return "done all the same"


@shared_task
async def rolls_back_slowly(gate):
    try:
        async with transaction.atomic():
            await Author.objects.acreate(name=f"rolled back {gate}")
            await note(gate, "begun")
            await asyncio.sleep(600)
    finally:
        await note(gate, "ended")


@shared_task
async def cancels_itself():
    async def child():
        raise asyncio.CancelledError

    await asyncio.create_task(child())


@shared_task(acks_late=True)
async def reject_once(gate):
    await note(gate, "begun")
    raise Reject("not me", requeue=False)


@shared_task
async def send_on(gate, queue):
    """Sends others: at once, from a child, in a group, on commit."""
    note_parent.apply_async((gate, "at once"), queue=queue)

    async def child():
        note_parent.apply_async((gate, "from a child"), queue=queue)

    await asyncio.gather(child())
    group(note_parent.s(gate, "in a group").set(queue=queue) for _ in range(3))()
    async with transaction.atomic():
        await Author.objects.acreate(name=f"sender {gate}")
        note_parent.apply_async_on_commit((gate, "on commit"), queue=queue)
        await note(gate, "before the commit")


@shared_task(bind=True)
async def note_parent(self, gate, what):
    there = await Author.objects.filter(name=f"sender {gate}").aexists()
    if what != "on commit" or there:
        await note(gate, f"{what} of {self.request.parent_id}")


@shared_task
async def note_error(request, error, traceback, gate=None):
    await note(str(request.kwargs["gate"]), "error")


@shared_task
async def fail_at(gate):
    raise ValueError(gate)


@shared_task
async def hooked():
    """In which processes a hook of the lifespan was entered."""
    from tests.celery import hooks

    return [hooks.entered, os.getpid()]


@shared_task
async def hold():
    """Holds the loop, as no task should."""
    time.sleep(0.5)


@shared_task
def plain(gate=None):
    """A synchronous task that blocks."""
    if gate is not None:
        arrive_blocking(gate)
    Author.objects.count()
    return {"where": onloop.where(), "thread": threading.current_thread().name}


@shared_task(acks_late=True)
def plain_late(gate):
    arrive_blocking(gate)
    return "done"


@shared_task
@onloop.on_loop
def plain_on_loop():
    Author.objects.count()
    return _place()


@shared_task(bind=True)
def plain_retry(self, gate):
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return self.request.retries
