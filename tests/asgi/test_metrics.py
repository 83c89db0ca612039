"""What `onloop.metrics.read()` says of a process, as it moves under real requests."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from onloop import bridge, http, metrics
from onloop.db.scope import scope
from onloop.metrics import sources
from tests.asgi.client import DEADLINE_S
from tests.fresh import python
from tests.http.upstream import Upstream
from tests.project.library.models import Author

held: list[asyncio.Event] = []


async def answers(request):
    await Author.objects.acount()
    return HttpResponse("yes")


async def waits(request):
    held.append(event := asyncio.Event())
    await event.wait()
    return HttpResponse("at last")


async def streams(request):
    async def parts():
        yield b"begun"
        held.append(event := asyncio.Event())
        await event.wait()

    return StreamingHttpResponse(parts())


async def breaks(request):
    raise ZeroDivisionError


urlpatterns = [
    path("answers/", answers),
    path("waits/", waits),
    path("streams/", streams),
    path("breaks/", breaks),
]


@pytest.fixture(autouse=True)
def _fresh(project):
    held.clear()
    project.configure(MIDDLEWARE=[], ONLOOP={"MAX_REQUESTS": 1, "MAX_QUEUE": 0})


def of_requests():
    read = metrics.read()["requests"]
    return {
        "answered": read["times"]["count"], "unanswered": read["unanswered"],
        "present": read["present"], "served": read["served"], "refused": read["refused"],
        **read["statuses"],
    }  # fmt: skip


def moved(before):
    return {
        name: number - before[name]
        for name, number in of_requests().items()
        if number != before[name]
    }


async def until_held():
    async with asyncio.timeout(DEADLINE_S):
        while not held:
            await asyncio.sleep(0)


async def test_answers_are_counted_by_their_status(project):
    before = of_requests()
    for _ in range(3):
        await project.get("/answers/")
    await project.get("/nowhere/")
    await project.get("/breaks/")
    assert moved(before) == {"answered": 5, "2xx": 3, "4xx": 1, "5xx": 1}


async def test_those_under_way_are_seen_and_those_beyond_the_limit_counted(project):
    before = of_requests()
    first = project.get("/waits/").start()
    await until_held()
    assert moved(before) == {"present": 1, "served": 1}
    await project.get("/answers/")
    assert moved(before)["refused"] == 1
    held[0].set()
    await first.end()
    assert moved(before) == {"answered": 2, "2xx": 1, "5xx": 1, "refused": 1}


async def test_a_client_that_leaves_is_no_answer(project):
    before = of_requests()
    request = project.get("/waits/").start()
    await until_held()
    request.leave()
    await request.end()
    assert moved(before) == {"unanswered": 1}


async def test_a_stream_is_answered_when_it_begins(project):
    before = of_requests()
    request = project.get("/streams/").start()
    await until_held()
    assert moved(before) == {"answered": 1, "2xx": 1, "present": 1}
    held[0].set()
    await request.end()


async def test_pools_are_told(project):
    await project.get("/answers/")

    def borrowed():
        return sum(pool["requests_num"] for pool in metrics.read()["pools"])

    before = borrowed()
    async with scope():
        await Author.objects.acount()
        assert borrowed() == before + 1
    pools = metrics.read()["pools"]
    assert all(pool["pool_size"] >= pool["pool_available"] for pool in pools)
    assert all({"name", "database", "requests_waiting"} <= pool.keys() for pool in pools)


async def test_hosts_that_fail_are_told_until_they_answer(project):
    upstream = Upstream().start()
    project.configure(
        ONLOOP={"HTTP": {"RETRIES": 0, "CIRCUIT_FAILURES": 2, "CIRCUIT_RESET": 600}}
    )
    try:
        for failures, is_open in ((1, False), (2, True)):
            await http.client().get(f"{upstream.url}/status/500")
            (host,) = http.stats()["failing"]
            assert host["host"] == f"127.0.0.1:{upstream.port}"
            assert (host["failures"], host["open"]) == (failures, is_open)
            assert bool(host["wait_s"]) is is_open
        assert metrics.read()["http"]["under_way"] == 0
    finally:
        await http.aclose()
        upstream.stop()
    assert http.stats()["failing"] == []


async def test_all_of_it_is_json_and_can_be_read_in_any_code(project):
    await project.get("/answers/")
    for read in (
        metrics.read(),
        await asyncio.to_thread(metrics.read),
        await bridge.run(metrics.read),
    ):
        assert json.loads(json.dumps(read)).keys() == read.keys()
        assert {"process", "requests", "loop", "pools"} <= read.keys()
        assert read["process"]["name"] == metrics.name_of_process()


def test_what_cannot_be_read_is_logged_and_left_out(monkeypatch, caplog):
    monkeypatch.setattr(sources, "_sources", dict(sources._sources))
    metrics.source("broken", lambda: 1 / 0)
    metrics.source("mine", lambda: {"one": 1})
    read = metrics.read()
    assert "broken" not in read
    assert read["mine"] == {"one": 1}
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.ERROR, "The numbers of 'broken' cannot be read.")
    ]


def test_it_needs_no_settings_and_loads_no_part():
    loaded = python("""
        import sys
        from onloop import metrics
        print(*metrics.read())
        assert not [name for name in sys.modules if name.startswith(("django", "httpx"))]
    """)
    assert loaded == "process"
