"""Processes without a server, which tests start: `python -m tests.tasks.process NAME`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time

import django


def command():
    """As a command of `manage.py`: it enqueues, and ends."""
    from tests.tasks import jobs

    for number in range(3):
        jobs.write.enqueue(f"async {number}")
        jobs.write_in_thread.enqueue(f"sync {number}")
    print("command ends", flush=True)


def one_call():
    """`async_to_sync` makes a loop for one call, as an async view under WSGI has."""
    from asgiref.sync import async_to_sync

    from tests.tasks import jobs

    async def view():
        await jobs.slow.aenqueue("from a view")

    async_to_sync(view)()
    print("view ends", flush=True)


def own_main():
    """`asyncio.run` cancels what runs at its end; `drain` is for that."""
    from onloop.tasks import drain
    from tests.tasks import jobs

    async def patient():
        await jobs.slow.aenqueue("patient")
        await jobs.slow.aenqueue("patient too")
        await drain()

    async def impatient():
        await jobs.hold.aenqueue()
        await jobs.slow.aenqueue("impatient")
        await jobs.stage.until(lambda: jobs.stage.running)

    asyncio.run(impatient())
    asyncio.run(patient())
    print(sorted(thread.name for thread in threading.enumerate()), flush=True)


def for_ever():
    """It enqueues something that never ends, and ends."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    from tests.tasks import jobs

    jobs.never.enqueue()
    print("command ends", flush=True)


def forks():
    """A child has jobs of its own, and not those of its parent."""
    from django.db import connection

    from onloop.tasks import results
    from onloop.tasks.models import Job
    from tests.tasks import jobs

    held = jobs.slow.enqueue("parent")
    while not Job.objects.filter(pk=held.id, finished__isnull=False).exists():
        time.sleep(0.02)
    connection.close()
    # While nothing writes: locks that other threads hold are the child's for ever.
    child = os.fork()
    if not child:
        assert results.find(held.id) is None
        jobs.slow.enqueue("child")
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    print("parent ends", flush=True)


def serving_forks():
    """A child of a process whose loop serves: that loop runs in the parent alone."""
    from onloop import phase
    from onloop.tasks import ownloop
    from tests.tasks import jobs

    def fork():
        child = os.fork()
        if not child:
            jobs.slow.enqueue("child")
            ownloop.end_own_loop()
            os._exit(0)  # in a thread of its parent's, which has no end here
        return os.waitpid(child, 0)[1]

    async def main():
        phase.enter_phase(asyncio.get_running_loop(), "started")
        print(await asyncio.to_thread(fork), flush=True)

    asyncio.run(main())


def cancels():
    """`… cancels ID`: from a process that does not run the job."""
    from onloop.tasks import cancel

    print(cancel(sys.argv[2]), flush=True)


if __name__ == "__main__":
    django.setup()
    globals()[sys.argv[1]]()
