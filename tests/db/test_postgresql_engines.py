"""PostgreSQL: engines of a project's own, combined with ours by the mixin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections, models, transaction

import onloop
from onloop import bridge
from tests.database import TestDatabases
from tests.engines.moods.base import DatabaseWrapper as MoodWrapper
from tests.engines.moods.base import Mood, MoodSchemaEditor
from tests.project.library.models import Author

from .helpers import abackend_pid, afetch, assert_all_back

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]

TENANTS = [f"tenant_{n}" for n in range(5)]


# --- a tenant's schema ------------------------------------------------------------------------


@pytest.fixture
def schemas(db_clean: TestDatabases) -> Iterator[psycopg.Connection[Any]]:
    with db_clean.connect() as outsider:
        for name in TENANTS:
            outsider.execute(f"CREATE SCHEMA {name}")
            outsider.execute(
                f"CREATE TABLE {name}.library_author (LIKE public.library_author INCLUDING ALL)"
            )
        try:
            yield outsider
        finally:
            for name in TENANTS:
                outsider.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["each", "limited", "knowing"])
def tenants(
    request: pytest.FixtureRequest, schemas: Any, extra_alias: Callable[..., str]
) -> str:
    """An alias for the engine of tenants; its name chooses the form."""
    return extra_alias(
        request.param, ENGINE="tests.engines.tenants", OPTIONS={"pool": {"max_size": 2}}
    )


def rows(alias: str) -> Any:
    return Author.objects.using(alias)


async def visit(alias: str, tenant: str, n: int) -> None:
    """What a request of `tenant` does: by itself, in a block, by a server-side cursor."""
    async with onloop.scope():
        connections[alias].set_schema(tenant)
        await rows(alias).acreate(name=f"{tenant} {n} alone")
        async with transaction.atomic(using=alias):
            await rows(alias).acreate(name=f"{tenant} {n} in a block")
            found = [author.name async for author in rows(alias)]
            assert all(name.startswith(tenant) for name in found), found
        found = [author.name async for author in rows(alias).aiterator(chunk_size=3)]
        assert all(name.startswith(tenant) for name in found), found
        assert f"{tenant} {n} alone" in found
        assert f"{tenant} {n} in a block" in found


async def test_many_tenants_at_once_see_their_own_rows_only(
    tenants: str, schemas: psycopg.Connection[Any]
) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(6):
            for tenant in TENANTS:
                group.create_task(visit(tenants, tenant, n))
    for tenant in TENANTS:
        written = schemas.execute(f"SELECT name FROM {tenant}.library_author").fetchall()
        assert len(written) == 12
        assert all(name.startswith(tenant) for (name,) in written)
    assert schemas.execute("SELECT count(*) FROM public.library_author").fetchone() == (0,)
    await assert_all_back(tenants)


async def test_a_tenant_may_change_within_a_scope(tenants: str) -> None:
    async with onloop.scope():
        for tenant in TENANTS:
            connections[tenants].set_schema(tenant)
            await rows(tenants).acreate(name=tenant)
        for tenant in TENANTS:
            connections[tenants].set_schema(tenant)
            assert [author.name async for author in rows(tenants)] == [tenant]
    await assert_all_back(tenants)


async def test_an_engine_that_knows_onloop_keeps_its_connections(
    schemas: Any, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias(
        "knowing", ENGINE="tests.engines.tenants", OPTIONS={"pool": {"max_size": 1}}
    )
    pids = set()
    for tenant in TENANTS:
        async with onloop.scope():
            connections[alias].set_schema(tenant)
            pids.add(await abackend_pid(alias))
            assert await afetch("SHOW search_path", alias=alias) == tenant
    assert len(pids) == 1


async def test_in_session_mode_a_tenants_connection_is_its_own_for_the_scope(
    schemas: Any, extra_alias: Callable[..., str]
) -> None:
    alias = extra_alias(
        "limited", ENGINE="tests.engines.tenants", OPTIONS={"pool": {"mode": "session"}}
    )
    for tenant in TENANTS:
        async with onloop.scope():
            connections[alias].set_schema(tenant)
            pids = {await abackend_pid(alias) for _ in range(3)}
            assert await afetch("SHOW search_path", alias=alias) == tenant
            assert len(pids) == 1
    await assert_all_back(alias)


# --- classes and types of an engine's own -----------------------------------------------------


@pytest.fixture
def moods(db_clean: TestDatabases, extra_alias: Callable[..., str]) -> Iterator[str]:
    with db_clean.connect() as outsider:
        outsider.execute("CREATE TYPE mood AS ENUM ('happy', 'sad')")
        try:
            yield extra_alias(
                "moods", ENGINE="tests.engines.moods", OPTIONS={"pool": {"max_size": 2}}
            )
        finally:
            outsider.execute("DROP TYPE mood CASCADE")


async def test_features_operations_and_introspection_are_the_engines(moods: str) -> None:
    wrapper: Any = connections[moods]
    assert wrapper.features.has_moods
    assert wrapper.ops.mood_sql() == 'SELECT "happy"'
    assert await bridge.run(wrapper.introspection.moods) == ["happy", "sad"]
    await assert_all_back(moods)


async def test_types_are_registered_once_for_each_connection_and_stay(moods: str) -> None:
    before = MoodWrapper.fetched
    for _ in range(5):
        found = await afetch("SELECT %s::mood", [Mood.SAD], alias=moods)
        assert found is Mood.SAD
    assert MoodWrapper.fetched == before + 1
    await assert_all_back(moods)


async def test_the_engines_schema_editor_works_on_the_loop(moods: str) -> None:
    class Feeling(models.Model):
        name = models.CharField(max_length=10)

        class Meta:
            app_label = "library"
            db_table = "feelings"

    def work() -> int:
        with connections[moods].schema_editor() as editor:
            assert isinstance(editor, MoodSchemaEditor)
            editor.create_model(Feeling)
        try:
            Feeling.objects.using(moods).create(name="joy")
            with connections[moods].schema_editor() as editor:
                editor.add_field(Feeling, with_name(models.IntegerField(default=3), "depth"))
            return len(connections[moods].introspection.table_names())
        finally:
            with connections[moods].schema_editor() as editor:
                editor.delete_model(Feeling)

    def with_name(field: Any, name: str) -> Any:
        field.set_attributes_from_name(name)
        return field

    from django.apps import apps

    try:
        assert await bridge.run(work) > 1
    finally:
        apps.all_models["library"].pop("feeling")
        apps.clear_cache()
    await assert_all_back(moods)
