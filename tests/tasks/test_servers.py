"""Jobs in a real server: enqueued by requests, watched and cancelled over HTTP, and its end."""

from __future__ import annotations

import json
import signal

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from onloop.tasks import cancel
from tests.project.library.models import Author
from tests.servers import STOP_TIMEOUT_S, Serving
from tests.tasks.waiting import row_when


def draining(drain_s: float, max_running: int):
    """Servers on each loop."""
    options = json.dumps({"drain_s": drain_s, "max_running": max_running})
    return pytest.mark.parametrize(
        "asgi_server",
        [
            Serving(loop=loop, env=(("ONLOOP_TEST_TASKS", options),))
            for loop in ("asyncio", "uvloop")
        ],
        indirect=True,
    )


@pytest.fixture
def ann(db_clean):
    return User.objects.create_user("ann")


def sign_in(http, user):
    client = Client()
    client.force_login(user)
    http.cookies.set("sessionid", client.cookies["sessionid"].value)


def enqueue(http, path="enqueue/count", **query):
    response = http.post(f"/desk/{path}/", params=query)
    assert response.status_code == 200, response.text
    return response.json()["id"]


@pytest.mark.parametrize("asgi_server", ["asyncio", "uvloop"], indirect=True)
def test_a_job_is_watched_while_it_runs(http, ann):
    sign_in(http, ann)
    for _ in range(5):  # the stream may begin when the job has ended
        job = enqueue(http, total=60, pause=0.02)
        with http.stream("GET", f"/jobs/{job}/events/") as response:
            assert response.headers["content-type"] == "text/event-stream"
            seen = [
                json.loads(line.removeprefix("data: "))
                for line in response.iter_lines()
                if line.startswith("data: ")
            ]
        if len({state["done"] for state in seen}) > 2:
            break

    assert [state["status"] for state in seen][-1] == "SUCCESSFUL"
    assert {state["status"] for state in seen} <= {"READY", "RUNNING", "SUCCESSFUL"}
    done = [state["done"] for state in seen]
    assert done == sorted(done)
    assert done[-1] == 60
    assert len(set(done)) > 2
    assert http.get(f"/jobs/{job}/").json() == seen[-1]


def test_a_sync_view_enqueues_when_its_transaction_is_committed(http, ann):
    job = enqueue(http, "enqueue-sync/count_in_thread", total=3)
    row = row_when(job, lambda row: row.finished)
    assert (row.status, row.done, row.owner_id) == ("SUCCESSFUL", 3, None)


def test_a_job_is_cancelled_over_http(http, ann):
    sign_in(http, ann)
    http.get("/admin/login/")  # for the CSRF token
    token = {"X-CSRFToken": http.cookies["csrftoken"]}
    for path in ("enqueue/count", "enqueue/count_in_thread"):
        job = enqueue(http, path, total=100_000, pause=0.01)
        row_when(job, lambda row: row.done)
        assert http.post(f"/jobs/{job}/cancel/").status_code == 403
        response = http.post(f"/jobs/{job}/cancel/", headers=token)
        assert response.json() == {"cancelled": True}
        assert row_when(job, lambda row: row.finished).status == "CANCELLED"
        response = http.post(f"/jobs/{job}/cancel/", headers=token)
        assert response.json() == {"cancelled": False}


def test_only_its_owner_and_the_staff_see_a_job(asgi_server, http, ann):
    sign_in(http, ann)
    job = enqueue(http, total=1)
    ben = User.objects.create_user("ben")
    chief = User.objects.create_user("chief", is_staff=True)
    for user, status in ((ann, 200), (ben, 404), (chief, 200), (None, 404)):
        with httpx.Client(base_url=asgi_server.url) as client:
            if user is not None:
                sign_in(client, user)
            assert client.get(f"/jobs/{job}/").status_code == status
            assert client.get(f"/jobs/{job}/events/").status_code == status
            assert client.get("/jobs/unknown/").status_code == 404
            assert client.get(f"/jobs/{job}/cancel/").status_code == 405


def test_a_client_that_leaves_its_stream_leaves_nothing(http, ann, asgi_server):
    sign_in(http, ann)
    job = enqueue(http, total=40, pause=0.02)
    for _ in range(3):
        with http.stream("GET", f"/jobs/{job}/events/") as response:
            assert next(response.iter_lines()) == "retry: 1000"
    assert row_when(job, lambda row: row.finished).status == "SUCCESSFUL"
    assert "Traceback" not in asgi_server.new_log()


def end(asgi_server, how, jobs):
    """End the server when the first job has begun; return how each ended."""
    asgi_server.process.send_signal(how)
    asgi_server.process.wait(STOP_TIMEOUT_S)
    log = asgi_server.new_log()
    assert "was destroyed but it is pending" not in log
    assert "Exception ignored" not in log
    return [row_when(job, lambda row: row.finished).status for job in jobs]


def names():
    return set(Author.objects.values_list("name", flat=True))


@draining(600, max_running=1)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_ends_lets_jobs_finish_in_time(asgi_server, http, how):
    quick = enqueue(http, name="quick", total=30, pause=0.02)
    waiting = enqueue(http, name="next", total=1)  # it gets the slot of the quick one
    row_when(quick, lambda row: row.done)
    assert end(asgi_server, how, [quick, waiting]) == ["SUCCESSFUL"] * 2
    assert names() == {"quick: done", "next: done"}


@draining(0.05, max_running=2)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_ends_marks_jobs_that_are_late(asgi_server, http, how):
    slow = enqueue(http, name="slow", total=100_000, pause=0.01)
    in_thread = enqueue(http, "enqueue/count_in_thread", total=100_000, pause=0.01)
    waiting = enqueue(http, name="next", total=1)
    for job in (slow, in_thread):
        row_when(job, lambda row: row.done)
    assert end(asgi_server, how, [slow, in_thread, waiting]) == ["CANCELLED"] * 3
    assert names() == {"slow: cancelled"}


@pytest.mark.parametrize(
    "asgi_server",
    [Serving(server="hypercorn"), Serving(server="daphne")],
    indirect=True,
    ids=["hypercorn", "daphne"],
)
def test_other_servers_run_jobs(http, asgi_server):
    job = enqueue(http, total=3)
    assert row_when(job, lambda row: row.finished).status == "SUCCESSFUL"


FULL = Serving(env=(("ONLOOP_TEST_TASKS", '{"max_queued": 1, "max_running": 1}'),))


@pytest.mark.parametrize("asgi_server", [FULL], indirect=True)
def test_a_full_queue_is_the_view_s_to_answer_for(http):
    jobs = [enqueue(http, name=name, total=100_000, pause=0.01) for name in "ab"]
    refused = http.post("/desk/enqueue/count/", params={"total": 1})
    assert refused.status_code == 503
    assert "max_running is 1 and max_queued 1" in refused.text
    for job in jobs:  # one after the other
        row_when(job, lambda row: row.done)
        assert cancel(job)
        assert row_when(job, lambda row: row.finished).status == "CANCELLED"
