"""How far a job is, over HTTP: once, or as it goes on; and its cancellation.

`include("onloop.tasks.urls")` gives the addresses. Who may look is decided by
`ONLOOP["TASKS_PERMISSION"]`, by default the job's owner and the staff. Whoever may not is told
that there is no such job.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from django.http import (
    Http404,
    HttpRequest,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from onloop.tasks import control
from onloop.tasks.jobstate import State
from onloop.tasks.watching import may_see, states

# Seconds after which a comment shows that the stream lives, and after which it ends: the
# browser comes back by itself. A server that shuts down waits no longer than that.
SILENCE_S = 15.0
STREAM_S = 30.0
RETRY_MS = 1000


async def _visible(request: Any, job_id: str) -> State:
    job = await control.astate(job_id)
    if job is None or not await may_see(await request.auser(), job):
        raise Http404("There is no such job.")
    return job


@never_cache
@require_safe
async def job(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """GET: the job's state as JSON."""
    return JsonResponse((await _visible(request, job_id)).public())


@require_POST
async def cancel(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """POST: cancel the job; `{"cancelled": false}` if it has ended already."""
    await _visible(request, job_id)
    return JsonResponse({"cancelled": await control.acancel(job_id)})


@require_safe
async def events(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """GET: server-sent events, each the whole state, until the job has ended.

    A client that reads slowly gets fewer of them, and always the newest.
    """
    first = await _visible(request, job_id)
    response = StreamingHttpResponse(_events(first), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx would collect them
    return response


async def _events(first: State) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    end_s = asyncio.get_running_loop().time() + STREAM_S
    async for state in states(first, end_s, SILENCE_S):
        if state is None:
            yield ": still here\n\n"
        else:
            yield f"data: {json.dumps(state.public())}\n\n"
