"""A pool without a database: its connections are numbered objects."""

from __future__ import annotations

import asyncio
from typing import Any

from onloop import bridge
from onloop.db.errors import DatabaseUnavailable
from onloop.db.pool import Pool, PoolOptions


class Connection:
    """Something that can be open, closed, broken or borrowed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False
        self.clean = True
        self.alive = True
        self.tidied = 0
        self.mute = False
        self.borrowed_by: object | None = None


class Driver:
    """Opens connections and counts them."""

    def __init__(self) -> None:
        self.opened: list[Connection] = []
        self.attempts = 0
        self.fail = False
        self.checked: list[Connection] = []

    @property
    def open_now(self) -> int:
        return sum(not connection.closed for connection in self.opened)

    def open(self) -> Connection:
        self.attempts += 1
        if self.fail:
            raise DatabaseUnavailable("nobody there")
        connection = Connection(len(self.opened))
        self.opened.append(connection)
        return connection

    def is_clean(self, connection: Connection) -> bool:
        return connection.clean

    def is_alive(self, connection: Connection) -> bool:
        return connection.alive

    def close(self, connection: Connection) -> None:
        connection.closed = True

    def prepare(self, connection: Connection, timeout_s: float) -> None:
        assert connection.borrowed_by is None

    def check(self, connection: Connection) -> None:
        self.checked.append(connection)
        if connection.mute:
            raise TimeoutError

    def tidy(self, connection: Connection) -> None:
        connection.tidied += 1


class Pooled:
    """A pool, its driver, and shorter ways to use them."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("min_size", 0)
        options.setdefault("timeout", 10)
        self.driver = Driver()
        self.pool: Pool[Connection] = Pool("test", PoolOptions(**options), self.driver)

    def get(self) -> Connection:
        return self.pool.get(self.driver.open)

    def put(self, connection: Connection) -> None:
        self.pool.put(connection)

    async def aget(self) -> Connection:
        return await bridge.run(self.get)

    def waiter(self) -> asyncio.Task[Connection]:
        return asyncio.create_task(self.aget())

    def assert_whole(self) -> None:
        stats = self.pool.stats()
        assert stats["pool_size"] == stats["pool_available"] == self.driver.open_now
        assert stats["requests_waiting"] == 0


async def until_waiting(pooled: Pooled, count: int) -> None:
    while pooled.pool.stats()["requests_waiting"] != count:
        await asyncio.sleep(0)
