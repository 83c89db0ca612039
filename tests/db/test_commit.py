"""COMMIT that is cancelled in flight, and COMMIT that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction

from onloop.db import leaving
from tests.database import TestDatabases
from tests.project.library.models import Author

from .conftest import Gate
from .eventually import eventually
from .helpers import anames, assert_all_back

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture
def slow_commit(db_clean: TestDatabases, gate: Gate) -> Iterator[Gate]:
    """A COMMIT that follows an INSERT of an author waits at the gate."""
    with db_clean.connect() as outsider:
        outsider.execute(
            "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$"
        )
        outsider.execute(
            "CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON library_author"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_gate()"
        )
        try:
            yield gate
        finally:
            gate.open()
            outsider.execute("DROP FUNCTION wait_at_gate() CASCADE")


@pytest.fixture
def committing(pg_activity: Callable[..., Any]) -> Callable[[], Any]:
    async def wait() -> Any:
        return await eventually(
            lambda: [
                backend
                for backend in pg_activity("COMMIT", state="active")
                if backend.wait_event_type == "Lock"
            ],
            "COMMIT at the server",
        )

    return wait


@pytest.mark.only_on("postgresql")
async def test_a_commit_that_is_cancelled_in_flight_is_finished_first(
    slow_commit: Gate, committing: Callable[[], Any]
) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")

    task = asyncio.create_task(work())
    await committing()
    task.cancel()
    await asyncio.sleep(0)
    assert len(await committing()) == 1
    slow_commit.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anames() == ["Ann"]
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_callbacks_run_after_a_commit_that_was_cancelled_in_flight(
    slow_commit: Gate, committing: Callable[[], Any]
) -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append(await anames())

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(look)

    task = asyncio.create_task(work())
    await committing()
    task.cancel()
    await asyncio.sleep(0)
    slow_commit.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [["Ann"]]


@pytest.mark.only_on("postgresql")
async def test_a_callback_that_fails_after_a_cancelled_commit_does_not_hide_the_cancellation(
    slow_commit: Gate, committing: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            transaction.on_commit(lambda: 1 / 0)

    task = asyncio.create_task(work())
    await committing()
    task.cancel()
    await asyncio.sleep(0)
    slow_commit.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.only_on("postgresql")
async def test_a_commit_that_does_not_end_is_given_up_after_a_bounded_time(
    slow_commit: Gate, committing: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "SHIELD_S", 0.05)

    async def work() -> None:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")

    task = asyncio.create_task(work())
    await committing()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_all_back()


@pytest.mark.only_on("postgresql")
async def test_the_connection_works_on_after_a_commit_that_failed(
    db_clean: TestDatabases,
) -> None:
    from django.db import IntegrityError

    from tests.project.library.models import Book

    with pytest.raises(IntegrityError):
        async with transaction.atomic():
            await Book.objects.acreate(author_id=999, title="nobody's", published="2000-01-01")
    assert await Book.objects.acount() == 0
    await assert_all_back()
