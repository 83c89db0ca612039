"""A process that forks with open pools: the child must leave its parent's connections alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from tests.database import TestDatabases
from tests.fresh import project

CODE = """
    import asyncio, os, warnings
    from django.db import connection
    from onloop import bridge
    from onloop.db import pools

    # Other threads make a fork dangerous; asyncio.run leaves none behind here.
    warnings.simplefilter("ignore", DeprecationWarning)
    postgresql = connection.vendor == "postgresql"
    QUERY = "SELECT pg_backend_pid()" if postgresql else "SELECT 1"

    def ask():
        with connection.cursor() as cursor:
            cursor.execute(QUERY)
            return cursor.fetchone()[0]

    async def work():
        return await bridge.run(ask)

    runner = asyncio.Runner()
    before = runner.run(work())
    child = os.fork()
    if child == 0:
        assert pools.all_pools() == []
        mine = asyncio.run(work())
        assert (mine != before) is postgresql, "the child used its parent's connection"
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert runner.run(work()) == before, "the parent has lost its connection"
    assert len(pools.all_pools()) == 1
    runner.close()
    print("well")
"""

PLAIN = """
    import os, warnings
    from django.db import connection

    # psycopg_pool has threads, and they make a fork dangerous: not for what is done here.
    warnings.simplefilter("ignore", DeprecationWarning)

    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]
        connection.close()  # back into the pool
        return pid

    before = ask()
    child = os.fork()
    if child == 0:
        assert ask() != before, "the child used its parent's connection"
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask() == before, "the parent has lost its connection"
    connection.close_pool()
    print("well")
"""


def given() -> dict[str, Any]:
    settings = connections.settings["default"]
    names = ("ENGINE", "NAME", "HOST", "PORT", "USER")
    return {name: str(settings[name]) for name in names if settings.get(name)}


def test_a_forked_child_has_pools_of_its_own(database: TestDatabases) -> None:
    assert project(CODE, databases={"default": given()}) == "well"


@pytest.mark.only_on("postgresql")
def test_a_forked_child_leaves_djangos_own_pool_to_its_parent(database: TestDatabases) -> None:
    pool = {"min_size": 1, "max_size": 1}
    databases = {"default": {**given(), "OPTIONS": {"pool": pool}}}
    assert project(PLAIN, databases=databases) == "well"
