"""`ConnectionLost`: what is raised when a connection breaks, and what is something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import override_settings
from django.urls import path
from psycopg import errors

import onloop
from onloop import bridge
from onloop.asgi import get_asgi_application
from onloop.db.errors import ConnectionLost, DatabaseUnavailable
from onloop.testing import FaultProxy
from tests.asgi.client import Exchange
from tests.database import TestDatabases
from tests.project.library.models import Author

from .helpers import afetch, anames, assert_all_back, fetch

pytestmark = [pytest.mark.usefixtures("db_clean"), pytest.mark.only_on("postgresql")]


@pytest.fixture
def end_own(db_clean: TestDatabases) -> Callable[[], None]:
    """Ends the back end of the transaction that the caller is in."""

    def end_own() -> None:
        with db_clean.connect() as outsider:
            pid = connection.connection.info.backend_pid
            outsider.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    return end_own


@pytest.fixture
def proxy(fault_proxy: FaultProxy) -> Iterator[FaultProxy]:
    with fault_proxy.in_front_of("default"):
        yield fault_proxy


async def test_a_server_that_says_goodbye(end_own: Callable[[], None]) -> None:
    with pytest.raises(ConnectionLost, match="terminating connection") as caught:
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await bridge.run(end_own)
            await Author.objects.acreate(name="Bob")
    assert isinstance(caught.value.__cause__, errors.AdminShutdown)
    assert not isinstance(caught.value, DatabaseUnavailable)
    assert await anames() == []
    await assert_all_back()


@pytest.mark.parametrize("fault", ["cut", "reset"])
async def test_a_network_that_says_nothing(proxy: FaultProxy, fault: Any) -> None:
    await anames()
    proxy.when(fault, direction="up", messages=1)
    with pytest.raises(ConnectionLost):
        await anames()
    assert await anames() == []
    await assert_all_back()


async def test_whatever_follows_in_that_block(end_own: Callable[[], None]) -> None:
    async with onloop.scope():
        async with transaction.atomic():
            await Author.objects.acreate(name="Ann")
            await bridge.run(end_own)
            for _ in range(2):
                with pytest.raises(ConnectionLost):
                    await Author.objects.acreate(name="Bob")
        # Django's rule: a block in which an error of the database was caught is rolled back.
        assert await anames() == []
    await assert_all_back()


def test_in_plain_synchronous_code(end_own: Callable[[], None]) -> None:
    with pytest.raises(ConnectionLost), transaction.atomic():
        fetch("SELECT 1")
        end_own()
        fetch("SELECT 1")


async def test_an_error_of_a_statement_is_something_else() -> None:
    with pytest.raises(OperationalError) as caught:
        async with transaction.atomic():
            await afetch("SET LOCAL statement_timeout = 20")
            await afetch("SELECT pg_sleep(20)")
    assert type(caught.value) is OperationalError
    await assert_all_back()


async def lost(request: Any) -> None:
    async with transaction.atomic():
        await Author.objects.acreate(name="Ann")
        await bridge.run(request.scope["end_own"])
        await Author.objects.acreate(name="Bob")


async def test_a_request_is_answered_503(
    end_own: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        answer = await Exchange(get_asgi_application(), "/lost/", end_own=end_own)
    assert (answer.status, answer.headers("retry-after")) == (503, ["1"])
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert "terminating connection" in record.getMessage()
    assert await anames() == []
    await assert_all_back()


urlpatterns = [path("lost/", lost)]
