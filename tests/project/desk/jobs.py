"""Jobs, and views that enqueue them, for tests on servers."""

import asyncio
import time

from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from onloop.tasks import QueueFull, owned_by, progress
from tests.project.library.models import Author

try:
    from django.tasks import task
except ImportError:  # before Django 6.0
    from django_tasks import task


@task
async def count(name, total, pause_s):
    """Counts to `total`, with a pause between; notes its end, or its cancellation."""
    try:
        for done in range(1, total + 1):
            await progress(done, total, f"{done} of {total}")
            await asyncio.sleep(pause_s)
    except asyncio.CancelledError:
        await Author.objects.acreate(name=f"{name}: cancelled")
        raise
    await Author.objects.acreate(name=f"{name}: done")


@task
def count_in_thread(name, total, pause_s):
    for done in range(1, total + 1):
        progress(done, total, f"{done} of {total}")
        time.sleep(pause_s)
    Author.objects.create(name=f"{name}: done")


JOBS = {"count": count, "count_in_thread": count_in_thread}


def _arguments(request):
    get = request.GET
    return get.get("name", "job"), int(get["total"]), float(get.get("pause", 0.01))


@csrf_exempt
async def enqueue(request, name):
    try:
        with owned_by(await request.auser()):
            result = await JOBS[name].aenqueue(*_arguments(request))
    except QueueFull as exc:
        return HttpResponse(str(exc), status=503)
    return JsonResponse({"id": result.id})


@csrf_exempt
def enqueue_sync(request, name):
    """In the request's thread, when its transaction is committed."""
    results = []
    with transaction.atomic():
        Author.objects.create(name="ordered")
        transaction.on_commit(lambda: results.append(JOBS[name].enqueue(*_arguments(request))))
    return JsonResponse({"id": results[0].id})
