"""Who may see a job, and how its states come: in process, over HTTP and over a socket."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections

from onloop.db import scope
from onloop.tasks import acancel, consumers, control, home, results, watching
from onloop.tasks.jobstate import State
from tests.channels.conftest import open_socket  # noqa: F401 - a fixture


def by_name(user, job):
    return user == "x" and job.name.endswith(".report_and_hold")


async def by_name_async(user, job):
    return await User.objects.filter(username=user).aexists()


@pytest.fixture
def state():
    from django.utils import timezone

    return State(id="a", name="a.report_and_hold", owner_id="7", created=timezone.now())


async def test_the_rule_is_the_project_s(db_clean, settings_of_onloop, state):
    settings_of_onloop(TASKS_PERMISSION="tests.tasks.test_views.by_name")
    assert await watching.may_see("x", state)
    assert not await watching.may_see("y", state)
    await User.objects.acreate(username="y")
    settings_of_onloop(TASKS_PERMISSION="tests.tasks.test_views.by_name_async")
    assert not await watching.may_see("x", state)
    assert await watching.may_see("y", state)


def test_by_default_it_is_the_owner_and_the_staff(state):
    assert watching.owner_or_staff(User(pk=7), state)
    assert not watching.owner_or_staff(User(pk=8), state)
    assert watching.owner_or_staff(User(pk=8, is_staff=True), state)
    assert not watching.owner_or_staff(User(pk=7, is_active=False), state)
    assert not watching.owner_or_staff(AnonymousUser(), state)
    assert not watching.owner_or_staff(None, state)


@pytest.mark.parametrize("near", [True, False], ids=["memory", "database"])
async def test_who_takes_states_slowly_gets_the_newest(jobs, stage, monkeypatch, near):
    monkeypatch.setattr(watching, "FAR_S", 0.05)
    result = await jobs.report_for_ever.aenqueue()
    await stage.until(lambda: stage.seen)
    if not near:
        monkeypatch.setattr(results, "find", lambda job_id: None)
    from onloop.tasks import astate

    async with asyncio.timeout(90):
        while (first := await astate(result.id)) is None or not first.done:
            await asyncio.sleep(0.01)
    seen = watching.states(first, asyncio.get_running_loop().time() + 60, 60)
    assert await anext(seen) == first
    await stage.until(lambda: stage.seen[-1] > first.done + 40)  # it does not take any
    second = await anext(seen)
    assert second.done > first.done + 10  # none of those between was kept for it
    await acancel(result.id)
    assert [each.status async for each in seen][-1] == "CANCELLED"


async def test_silence_is_told_and_a_stream_ends_in_time(jobs, stage, monkeypatch):
    monkeypatch.setattr(watching, "NEAR_S", 0.001)
    result = await jobs.report_and_hold.aenqueue(1, 2)
    await stage.until(lambda: stage.seen)
    from onloop.tasks import astate

    end_s = asyncio.get_running_loop().time() + 0.1
    told = [each async for each in watching.states(await astate(result.id), end_s, 0.01)]
    assert told[0].done == 1
    assert None in told[1:]
    assert set(told[1:]) == {None}


SESSIONS = {"pool": {"mode": "session"}}


@pytest.fixture
async def socket_of(open_socket, settings_of_onloop):  # noqa: F811
    from channels.routing import URLRouter
    from django.urls import path

    from onloop.tasks.consumers import JobConsumer

    settings_of_onloop(TASKS_PERMISSION="tests.tasks.test_views.anybody")
    router = URLRouter([path("jobs/<str:job_id>/", JobConsumer.as_asgi())])

    async def open_(job_id):
        return await open_socket(router, f"/jobs/{job_id}/")

    yield open_
    await home.drain_loop(asyncio.get_running_loop(), 0)


def anybody(user, job):
    return True


async def test_a_socket_is_told_each_state_and_closed_after_the_last(jobs, stage, socket_of):
    result = await jobs.report_and_hold.aenqueue(1, 2)
    await stage.until(lambda: stage.seen)
    socket = await socket_of(result.id)
    state = await socket.receive_json_from(20)
    assert (state["id"], state["done"], state["status"]) == (result.id, 1, "RUNNING")
    stage.go.set()
    while state["status"] == "RUNNING":
        state = await socket.receive_json_from(20)
    assert state["status"] == "SUCCESSFUL"
    assert await socket.receive_output(20) == {"type": "websocket.close", "code": 1000}


async def test_a_socket_that_leaves_ends_what_watches_for_it(jobs, stage, socket_of):
    result = await jobs.report_and_hold.aenqueue(1, 2)
    await stage.until(lambda: stage.seen)
    socket = await socket_of(result.id)
    await socket.receive_json_from(20)
    watching_ = [each for each in asyncio.all_tasks() if "JobConsumer._watch" in repr(each)]
    assert len(watching_) == 1
    await socket.disconnect()
    await asyncio.wait(watching_, timeout=90)
    assert watching_[0].cancelled()


async def test_a_socket_outlives_a_database_that_is_away(
    jobs, stage, socket_of, monkeypatch, caplog
):
    result = await jobs.report_and_hold.aenqueue(1, 2)
    await stage.until(lambda: stage.seen)
    astate = control.astate
    socket = await socket_of(result.id)
    while (await socket.receive_json_from(20))["done"] != 1:
        pass

    async def away(job_id):
        monkeypatch.setattr(control, "astate", astate)
        raise OSError("away")

    monkeypatch.setattr(control, "astate", away)
    stage.go.set()
    assert (await socket.receive_json_from(20))["status"] == "SUCCESSFUL"
    assert "it is tried again" in caplog.text


async def test_a_socket_that_watches_keeps_no_connection(jobs, stage, socket_of, monkeypatch):
    monkeypatch.setattr(results, "find", lambda job_id: None)  # it is read from the database
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", SESSIONS)
    monkeypatch.setattr(consumers, "WITH_LAYER_S", 0.05)
    result = await jobs.report_and_hold.aenqueue(1, 2)
    socket = await socket_of(result.id)
    await socket.receive_json_from(20)
    (task,) = (each for each in asyncio.all_tasks() if "JobConsumer._watch" in repr(each))
    await stage.until(lambda: task in scope._scopes)  # it has looked again
    await stage.until(lambda: not scope._scopes[task].wrappers)


@pytest.mark.parametrize("job_id", ["unknown", "un\0known", "ü" * 200])
async def test_a_socket_for_no_job_is_closed(jobs, socket_of, job_id):
    socket = await socket_of(job_id)
    closed = await socket.receive_output(20)
    assert (closed["type"], closed["code"]) == ("websocket.close", 4404)
