"""The broker, the app that sends to it, and workers."""

from __future__ import annotations

import gc
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.celery.gates import Gate
from tests.celery.workers import Worker, start
from tests.database import TestDatabases
from tests.redis import RedisServer

# However busy the machine is; what is tested never depends on it.
DEADLINE_S = 90

Start = Callable[..., Worker]

_names = itertools.count()


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The URL of a Redis for Celery alone, to which the app of this process sends."""
    server = RedisServer()
    server.start()
    from tests.celery.app import app

    app.conf.update(broker_url=server.url, result_backend=server.url)
    app.set_default()
    app.loader.import_default_modules()
    yield server.url
    gc.collect()  # results speak to Redis when they go
    app.close()
    server.close()


@pytest.fixture(autouse=True)
def current_app(broker: str) -> Iterator[None]:
    """Shared tasks are this app's while a test here runs: other tests have other apps."""
    from celery import _state

    from tests.celery.app import app

    before = _state._tls.current_app
    app.set_current()
    yield
    _state._set_current_app(before)


@pytest.fixture(scope="session")
def shared_workers(
    broker: str, database: TestDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Any, Worker]]:
    workers: dict[Any, Worker] = {}
    yield workers
    for worker in workers.values():
        worker.kill()


@pytest.fixture
def worker_of(
    shared_workers: dict[Any, Worker],
    broker: str,
    db_clean: TestDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Start:
    """`worker_of("prefork", 2)`: a worker with this pool, which other tests use too."""

    def get(pool: str = "custom", concurrency: int = 20) -> Worker:
        key = pool, concurrency
        if key not in shared_workers:
            folder = tmp_path_factory.mktemp("workers")
            shared_workers[key] = start(
                folder,
                broker,
                f"shared-{pool}-{concurrency}",
                pool=pool,
                concurrency=concurrency,
            )
        return shared_workers[key]

    return get


@pytest.fixture
def worker(worker_of: Start) -> Worker:
    """A worker with Onloop's pool, 20 tasks at once."""
    return worker_of()


@pytest.fixture
def own_worker(broker: str, db_clean: TestDatabases, tmp_path: Path) -> Iterator[Start]:
    """`own_worker(concurrency=200)`: a worker that the test may stop or kill."""
    workers: list[Worker] = []

    def get(queue: str | None = None, **options: Any) -> Worker:
        queue = queue or f"own-{next(_names)}-{os.getpid()}"
        workers.append(start(tmp_path, broker, queue, **options))
        return workers[-1]

    yield get
    for worker in workers:
        worker.kill()


@pytest.fixture
def gate(broker: str) -> Iterator[Gate]:
    """A new gate, which opens at the end."""
    with _new_gate(broker) as gate:
        yield gate


@pytest.fixture
def other_gate(broker: str) -> Iterator[Gate]:
    with _new_gate(broker) as gate:
        yield gate


@pytest.fixture
def writers(database: TestDatabases) -> int:
    """How many transactions can write at once."""
    return 1 if database.kind == "sqlite" else 8


@contextmanager
def _new_gate(broker: str) -> Iterator[Gate]:
    server = redis.Redis.from_url(broker, decode_responses=True)
    gate = Gate(server, f"gate-{next(_names)}-{os.getpid()}")
    yield gate
    gate.open()
    server.close()


def limited(worker: Worker, task: Any, gate: Gate, limit: str, waits: str) -> Any:
    """The result of a task whose `limit` came when it was where it notes `waits`.

    It is sent with a short limit, and with longer ones if that came before.
    """
    for seconds in (1, 10, 40):
        result = worker.send(task, str(gate), **{limit: seconds})
        result.get(timeout=DEADLINE_S, propagate=False)
        if gate.noted(waits):
            break
    return result


def eventually(true: Callable[[], object]) -> None:
    """Until it is; fails if it never comes to be."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
