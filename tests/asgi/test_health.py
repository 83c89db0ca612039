"""`onloop.health`: what the two views answer, and what they do not depend on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import types

import pytest
from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path

import onloop
from onloop import bridge, health
from onloop.db import pools
from onloop.db.backends.base import ScopedWrapper
from onloop.health import monitor
from onloop.health.monitor import monitor_of
from tests.asgi.client import DEADLINE_S, Lifespan, all_of
from tests.asgi.conftest import borrowed
from tests.db.eventually import eventually
from tests.postgres import ROOT, free_port
from tests.reliability.findings import pool_of

PAGE = ROOT / "docs" / "health.md"
leaves = None


async def held(request):
    await leaves.wait()
    return HttpResponse()


urlpatterns = [
    path("live/", health.live),
    path("ready/", health.ready),
    path("ready-other/", health.ready, {"databases": ["other"], "timeout": 5}),
    path("ready-none/", health.ready, {"databases": []}),
    path("ready-soon/", health.ready, {"databases": ["default"], "timeout": 0.05}),
    path("ready-nowhere/", health.ready, {"databases": ["nowhere", "nowhere either"]}),
    path("ready-text/", health.ready, {"databases": "default"}),
    path("ready-never/", health.ready, {"timeout": 0}),
    path("ready-before/", health.ready, {"timeout": -1}),
    path("ready-quoted/", health.ready, {"timeout": "1"}),
    path("health/", include("onloop.health")),
    path("held/", held),
]

READY = {
    "status": "ok",
    "application": "started",
    "databases": {"default": "ok", "other": "ok"},
}


@pytest.fixture(autouse=True)
def _leaves():
    global leaves  # noqa: PLW0603 - a view is a function of the module
    leaves = asyncio.Event()


@pytest.fixture
def away(monkeypatch, tmp_path):
    """`with away():` the database `default` is not there."""

    @contextlib.contextmanager
    def context():
        settings = connections.settings["default"]
        pools.close_pools(alias="default")
        with monkeypatch.context() as patch:
            if settings["ENGINE"].endswith("sqlite3"):
                patch.setitem(settings, "NAME", tmp_path / "secret-place" / "file.sqlite3")
            else:
                patch.setitem(settings, "HOST", "127.0.0.1")
                patch.setitem(settings, "PORT", str(free_port()))
                patch.setitem(settings, "PASSWORD", "secret-place")
            yield
        pools.close_pools(alias="default")

    return context


# --- what they answer -------------------------------------------------------------------------


async def test_both_answer(project):
    assert (await project.get("/live/")).json() == {"status": "ok"}
    answer = await project.get("/ready/")
    assert (answer.status, answer.json()) == (200, READY)
    assert "no-store" in answer.headers("cache-control")[0]


async def test_both_can_be_included(project):
    assert (await project.get("/health/live/")).status == 200
    assert (await project.get("/health/ready/")).json() == READY


@pytest.mark.parametrize("address", ["/live/", "/ready/"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 403)])
async def test_they_can_be_asked_only(project, address, method, status):
    assert (await project.send(method, address)).status == status


async def test_only_the_databases_that_are_named_are_asked(project, away):
    with away():
        answer = await project.get("/ready-other/")
        none = await project.get("/ready-none/")
    assert (answer.status, answer.json()["databases"]) == (200, {"other": "ok"})
    assert (none.status, none.json()["databases"]) == (200, {})


async def test_an_alias_that_is_unknown_is_an_error_and_the_only_one(
    project, exceptions, caplog
):
    assert (await project.get("/ready-nowhere/")).status == 500
    assert "'nowhere'" in str(exceptions[0])
    await asyncio.sleep(0)
    gc.collect()  # where asyncio would tell of tasks whose errors nobody had
    assert [r for r in caplog.records if r.name == "asyncio"] == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/ready-text/", "databases is a list of aliases, not 'default'"),
        ("/ready-never/", "timeout is a number of seconds above 0, not 0"),
        ("/ready-before/", "timeout is a number of seconds above 0, not -1"),
        ("/ready-quoted/", "timeout is a number of seconds above 0, not '1'"),
    ],
)
async def test_an_argument_that_is_wrong_is_named(project, exceptions, address, said):
    assert (await project.get(address)).status == 500
    assert said in str(exceptions[0])


async def test_without_its_database_only_the_application_is_live(project, away, caplog):
    with away():
        assert (await project.get("/live/")).status == 200
        for _ in range(3):
            answer = await project.get("/ready/")
            assert answer.status == 503
            assert answer.json() == {
                "status": "unavailable",
                "application": "started",
                "databases": {"default": "unavailable", "other": "ok"},
            }
            assert b"secret-place" not in answer.content
    assert (await project.get("/ready/")).json() == READY
    # What is wrong stands in the log, once, and no error for each answer.
    said = [r.getMessage() for r in caplog.records if r.name == "onloop.health"]
    assert len(said) == 2
    assert said[0].startswith(
        "Not ready: the database 'default': No connection to the database"
    )
    assert said[1] == "The database 'default' is ready again."
    assert [r for r in caplog.records if r.name == "django.request"] == []


# --- the server's lifespan --------------------------------------------------------------------


async def test_it_is_ready_from_the_end_of_the_start_to_the_beginning_of_the_end(project):
    seen = []

    @contextlib.asynccontextmanager
    async def hook():
        seen.append(await project.get("/ready/"))
        yield
        seen.append(await project.get("/ready/"))
        seen.append(await project.get("/live/"))

    globals()["hook"] = hook
    project.configure(ONLOOP={"LIFESPAN": [f"{__name__}.hook"]})
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    assert (await project.get("/ready/")).status == 200
    await lifespan.shutdown()
    starting, stopping, live = seen
    unavailable = {"status": "unavailable", "databases": {}}
    assert (starting.status, starting.json()) == (
        503,
        unavailable | {"application": "starting"},
    )
    assert (stopping.status, stopping.json()) == (
        503,
        unavailable | {"application": "stopping"},
    )
    assert live.status == 200
    assert (await project.get("/ready/")).status == 503
    assert pools.pools_of(asyncio.get_running_loop()) == []  # it opened none again


async def test_an_application_that_is_told_to_end_meanwhile_is_not_ready(project, monkeypatch):
    lifespan = Lifespan(project.application)
    await lifespan.startup()
    with held_up(monkeypatch) as gate:
        probe = project.get("/ready/").start()
        await eventually(lambda: gate.asked, "the question")
        ends = asyncio.create_task(lifespan.shutdown())
        await asyncio.sleep(0)
        gate.open()
        assert (await probe).json()["application"] == "stopping"
        await ends


# --- a loaded process -------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def all_connections_lent(count):
    """`count` scopes that have a connection each, and hold it."""
    lent, let_go = asyncio.Barrier(count + 1), asyncio.Event()

    async def hold():
        async with onloop.scope():
            await bridge.run(connection.ensure_connection)
            await lent.wait()
            await let_go.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(hold())
        await lent.wait()
        yield
        let_go.set()


async def test_a_full_pool_is_ready_and_nobody_queues(project):
    with pool_of(2):
        async with all_connections_lent(2):
            answer = await project.get("/ready/")
        assert answer.status == 200
        assert answer.json()["databases"]["default"] == "busy"
        (pool,) = [p for p in pools.pools_of(asyncio.get_running_loop()) if p.name == "default"]
        assert pool.stats()["requests_queued"] == 0


async def test_a_full_pool_to_which_nothing_comes_back_is_asked_by_one_more(
    project, monkeypatch
):
    monkeypatch.setattr(monitor, "TURNOVER_S", 0.0)
    with pool_of(2):
        async with all_connections_lent(2):
            answer = await project.get("/ready/")
            (pool,) = [
                p for p in pools.pools_of(asyncio.get_running_loop()) if p.name == "default"
            ]
            assert pool.stats()["pool_size"] == 2  # it is gone again
        assert (answer.status, answer.json()["databases"]["default"]) == (200, "ok")


async def test_a_full_pool_whose_database_is_gone_is_not_ready(project, monkeypatch, away):
    monkeypatch.setattr(monitor, "TURNOVER_S", 0.0)
    with away(), pool_of(1):
        loop = asyncio.get_running_loop()
        # Its only connection is out, and no other can be opened.
        async with onloop.scope():
            pool = await bridge.run(lambda: connection.loop_pool)
            pool._size = 1
            answer = await project.get("/ready/")
            pool._size = 0
        assert answer.json()["databases"]["default"] == "unavailable"
        assert answer.status == 503
        assert pool in pools.pools_of(loop)


async def test_limits_of_requests_do_not_hold_for_them(project):
    project.configure(MIDDLEWARE=[], ONLOOP={"MAX_REQUESTS": 1, "MAX_QUEUE": 0})
    serving = project.get("/held/").start()
    await asyncio.sleep(0)
    assert (await project.get("/held/")).status == 503
    assert (await project.get("/nowhere/")).status == 503
    assert (await project.get("/live/")).status == 200
    assert (await project.get("/ready/")).status == 200
    script = {"root_path": "/app"}
    assert (await project.get("/app/live/", **script)).status == 200
    assert (await project.get("/app/held/", **script)).status == 503
    leaves.set()
    assert (await serving).status == 200
    # They had no slot, and gave none back: the limit is what it was.
    leaves.clear()
    serving = project.get("/held/").start()
    await asyncio.sleep(0)
    assert (await project.get("/held/")).status == 503
    leaves.set()
    await serving


async def test_a_probe_does_not_join_the_transaction_of_its_request(project):
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    try:
        assert (await project.get("/ready/")).json() == READY
    finally:
        connections.settings["default"]["ATOMIC_REQUESTS"] = False


async def test_a_check_has_nothing_of_the_request_that_began_it(project):
    """Others share it."""

    def refuse(*args):
        raise ZeroDivisionError

    async with onloop.scope():
        with connection.execute_wrapper(refuse):
            assert (await project.get("/ready/")).json() == READY


# --- many probes at once ----------------------------------------------------------------------


class Gate:
    """Holds the question to a database up, and counts how often it was asked."""

    def __init__(self):
        self.asked = 0
        self._open = asyncio.Event()
        self.open = self._open.set

    async def wait(self):
        self.asked += 1
        await self._open.wait()


@contextlib.contextmanager
def held_up(monkeypatch):
    gate = Gate()
    ask = monitor._ask

    def asks(alias):
        if alias == "default":
            bridge.await_(gate.wait())
        return ask(alias)

    with monkeypatch.context() as patch:
        patch.setattr(monitor, "_ask", asks)
        yield gate


async def test_many_probes_share_one_check(project, monkeypatch):
    with held_up(monkeypatch) as gate:
        probes = [project.get("/ready/").start() for _ in range(50)]
        await eventually(lambda: gate.asked, "the question")
        gate.open()
        assert [(await probe).json() for probe in probes] == [READY] * 50
        assert gate.asked == 1
        # It is over: the next probe asks anew.
        assert (await project.get("/ready/")).status == 200
        assert gate.asked == 2


async def test_a_probe_that_leaves_takes_no_others_answer_with_it(project, monkeypatch):
    with held_up(monkeypatch) as gate:
        leaving, staying = project.get("/ready/").start(), project.get("/ready/").start()
        await eventually(lambda: gate.asked, "the question")
        leaving.leave()
        await leaving
        gate.open()
        assert (await staying).json() == READY
        assert gate.asked == 1
        assert leaving.messages == []


async def test_no_answer_in_time_is_not_ready(project, monkeypatch):
    with held_up(monkeypatch) as gate:
        probes = await all_of(project.get("/ready-soon/") for _ in range(5))
        assert [probe.status for probe in probes] == [503] * 5
        assert probes[0].json()["databases"] == {"default": "timeout"}
        under_way = monitor_of(asyncio.get_running_loop())._under_way
        await eventually(lambda: not under_way, "the end of the check")
        gate.open()
    assert (await project.get("/ready/")).status == 200


async def test_a_check_that_takes_long_to_clean_up_is_no_reason_for_another(
    project, monkeypatch, caplog
):
    lingers = asyncio.Event()

    async def lingering():
        try:
            await asyncio.Event().wait()
        finally:
            await lingers.wait()

    asked = []

    def asks(alias):
        asked.append(alias)
        bridge.await_(lingering())

    with monkeypatch.context() as patch:
        patch.setattr(monitor, "_ask", asks)
        for _ in range(3):
            answer = await project.get("/ready-soon/")
            assert (answer.status, answer.json()["databases"]) == (503, {"default": "timeout"})
        assert asked == ["default"]
        # The log does not wait for its end either.
        said = [r.getMessage() for r in caplog.records if r.name == "onloop.health"]
        assert said == ["Not ready: the database 'default': no answer within 0.05 s"]
        lingers.set()
        await eventually(
            lambda: not monitor_of(asyncio.get_running_loop())._under_way, "its end"
        )
    assert (await project.get("/ready/")).status == 200
    assert borrowed() == {}


@pytest.mark.only_on("postgresql")
async def test_a_statement_that_is_never_answered_is_cancelled_at_the_server(
    project, monkeypatch, pg_activity
):
    monkeypatch.setattr(
        monitor, "_select", lambda wrapper: wrapper.cursor().execute("SELECT pg_sleep(60)")
    )
    assert (await project.get("/ready-soon/")).json()["databases"] == {"default": "timeout"}

    async def gone():
        return not await asyncio.to_thread(pg_activity, "pg_sleep(60)", state="active")

    await eventually(gone, "its cancellation")
    await eventually(lambda: not monitor_of(asyncio.get_running_loop())._under_way, "its end")
    assert borrowed() == {}


# --- the page ---------------------------------------------------------------------------------


async def test_the_addresses_of_the_page_answer(project):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    addresses = []
    for block in blocks:
        names = {}
        exec(block, names)
        addresses += names["urlpatterns"]
    module = types.ModuleType("addresses_of_the_page")
    module.urlpatterns = addresses
    project.configure(ROOT_URLCONF=module)
    for path_ in ("/health/live/", "/health/ready/", "/healthz/", "/readyz/"):
        assert (await project.get(path_)).status == 200


# --- elsewhere --------------------------------------------------------------------------------


def test_under_wsgi_they_answer_too(bare_project, db_clean, away):
    client = Client()
    assert client.get("/live/").json() == {"status": "ok"}
    assert client.get("/ready/").json() == READY
    with away():
        assert client.get("/live/").status_code == 200
        assert client.get("/ready/").json()["databases"]["default"] == "unavailable"
    assert client.get("/ready/").status_code == 200


async def test_another_engine_is_asked_in_a_thread_where_it_is_named(project, monkeypatch):
    settings = connections.settings["other"]
    engine = settings["ENGINE"].replace("onloop.db", "django.db")
    wrapper = connections["other"]
    assert isinstance(wrapper, ScopedWrapper)
    monkeypatch.setitem(settings, "ENGINE", engine)
    assert (await project.get("/ready/")).json()["databases"] == {"default": "ok"}
    assert (await project.get("/ready-other/")).json()["databases"] == {"other": "ok"}
    if engine.endswith("sqlite3"):
        monkeypatch.setitem(settings, "NAME", "/nowhere/file.sqlite3")
    else:
        monkeypatch.setitem(settings, "PORT", str(free_port()))
    assert (await project.get("/ready-other/")).json()["databases"] == {"other": "unavailable"}


async def test_who_stands_in_a_block_is_answered_as_anybody(project):
    async with asyncio.timeout(DEADLINE_S), transaction.atomic():
        assert (await project.get("/ready/")).json() == READY
