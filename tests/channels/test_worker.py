"""`manage.py runworker`: consumers on named channels, in a process that ends well."""

from __future__ import annotations

import signal

import pytest
from channels.layers import get_channel_layer
from django.test import override_settings

from tests.channels.workers import WorkerProcess
from tests.db.eventually import eventually
from tests.fresh import project
from tests.project.library.models import Author

# What a worker takes and how it ends does not depend on the database.
pytestmark = pytest.mark.only_on("postgresql")

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@pytest.fixture
async def send(db_clean, redis_server):
    """`await send("jobs", "job.add", name="a")`."""
    with override_settings(CHANNEL_LAYERS={"default": redis_server.layer()}):
        layer = get_channel_layer()

        async def send_(channel, kind, **content):
            await layer.send(channel, {"type": kind, **content})

        yield send_
        await layer.close_pools()


@pytest.fixture
def worker(redis_server, tmp_path):
    def worker_(**onloop):
        return WorkerProcess(redis_server.layer(), tmp_path, **onloop)

    return worker_


async def names():
    return [name async for name in Author.objects.order_by("pk").values_list("name", flat=True)]


def is_quiet(db):
    """No session of the worker is in a transaction, as the server sees it."""
    if db.kind != "postgresql":
        return True
    return {one.state for one in db.activity(application_name="onloop-server")} <= {"idle"}


async def test_messages_are_handled_in_order_on_the_loop_and_in_threads(send, worker, db_clean):
    async with worker() as running:
        for name in "abc":
            await send("jobs", "job.add", name=name)
        await running.says("added c")
        await send("sync-jobs", "job.add", name="d")
        await eventually(Author.objects.filter(name__startswith="d").aexists)
        assert await names() == ["a in bridge", "b in bridge", "c in bridge", "d in thread"]
        assert running.log().count("added") == 3
        assert "added c, the 3th, True" in running.log()  # by one consumer
        await eventually(lambda: is_quiet(db_clean))
        running.process.terminate()
        assert await running.ends() == 0
        assert "Traceback" not in running.log()


async def test_a_message_that_fails_costs_no_other(send, worker, db_clean):
    """Channels loses those that come within a tenth of a second after it."""
    async with worker() as running:
        for name, kind in zip("abc", ("job.fail", "job.stop", "job.unknown"), strict=True):
            await send("jobs", kind)
            await send("jobs", "job.add", name=name)
        await running.says("added", 3)
        assert "of the job" in running.log()
        assert running.log().count("the 1th") == 3  # each by a new consumer
        assert await names() == ["a in bridge", "b in bridge", "c in bridge"]
        await eventually(lambda: is_quiet(db_clean))


async def test_what_a_handler_leaves_open_is_rolled_back(send, worker, db_clean):
    async with worker() as running:
        await send("jobs", "job.leave_open")
        await send("jobs", "job.add", name="a")
        await running.says("added a")
        assert await names() == ["a in bridge"]
        await eventually(lambda: is_quiet(db_clean))


@SIGNALS
async def test_a_worker_that_waits_ends_at_once(send, worker, number):
    async with worker() as running:
        running.process.send_signal(number)
        assert await running.ends() == 0
        assert "ends with 0" in running.log()
        assert "Traceback" not in running.log()


@SIGNALS
async def test_it_finishes_its_message_and_takes_no_other(send, worker, number, tmp_path):
    go = tmp_path / "go"
    async with worker() as running:
        await send("jobs", "job.wait", name="first", file=str(go))
        await send("jobs", "job.add", name="second")
        await running.says("waits")
        running.process.send_signal(number)
        await send("jobs", "job.add", name="third")
        go.touch()
        assert await running.ends() == 0
        assert "waited" in running.log()
        assert "ends with 1" in running.log()
        assert "Traceback" not in running.log()
        assert await names() == ["first"]
    async with worker() as running:
        await running.says("added", 2)
        assert await names() == ["first", "second in bridge", "third in bridge"]


async def test_one_that_does_not_end_in_time_is_cancelled(send, worker, db_clean):
    async with worker(SOCKET_CLOSE_TIMEOUT=0.2) as running:
        await send("jobs", "job.wait", name="never there", file="/nowhere")
        await running.says("waits")
        running.process.terminate()
        assert await running.ends() == 0
        assert "cancelled" in running.log()
        assert "cancels 1 messages" in running.log()
        assert "Traceback" not in running.log()
    assert await names() == []
    await eventually(lambda: is_quiet(db_clean))


async def test_a_second_signal_is_urgent(send, worker):
    async with worker(SOCKET_CLOSE_TIMEOUT=3600) as running:
        await send("jobs", "job.wait", name="never there", file="/nowhere")
        await running.says("waits")
        running.process.terminate()
        await send("jobs", "job.add", name="not taken")

        def cancelled():
            """Sent until it is: two that come at once may be one."""
            done = "cancelled" in running.log()
            if not done:
                running.process.terminate()
            return done

        await eventually(cancelled)
        assert await running.ends() == 0
        assert "Traceback" not in running.log()
    assert await names() == []


async def test_it_outlives_redis(send, worker, redis_server):
    async with worker() as running:
        await send("jobs", "job.add", name="a")
        await running.says("added a")
        redis_server.stop()
        await running.says("is away")
        redis_server.start()
        await send("jobs", "job.add", name="b")
        await running.says("added b")
        running.process.terminate()
        assert await running.ends() == 0


async def test_a_layer_that_fails_ends_it_in_order(send, redis_server, tmp_path):
    """Channels' own layer raises, and whoever started the worker starts it again."""
    backend = "channels_redis.core.RedisChannelLayer"
    layer = {**redis_server.layer(), "BACKEND": backend}
    async with WorkerProcess(layer, tmp_path) as running:
        redis_server.stop()
        assert await running.ends() == 1
        assert "ends with 0" in running.log()
        assert "ConnectionError" in running.log()


async def test_a_hook_that_fails_is_said_and_it_ends(send, worker):
    async with worker(LIFESPAN=["tests.project.sockets.jobs.fails"]) as running:
        assert await running.ends() == 1
        assert "The worker could not start: LookupError: of the hook" in running.log()


def test_without_channels_the_command_says_what_is_missing():
    said = project("""
        import sys
        sys.modules["channels"] = None
        from django.core.management import call_command, CommandError
        try:
            call_command("runworker", "jobs")
        except CommandError as exc:
            print(exc)
    """)
    assert said == 'runworker needs Channels: pip install "django-onloop[channels]".'
