"""Receivers of a signal and transactions: side by side, and inside of a block."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import django
import pytest
from django.db import transaction
from django.dispatch import Signal

import onloop
from tests.project.library.models import Author

from .helpers import anames, assert_all_back

pytestmark = pytest.mark.usefixtures("db_clean")

last: contextvars.ContextVar[str] = contextvars.ContextVar("last", default="")


def make(name: str) -> Any:
    return Author.objects.acreate(name=name)


@pytest.mark.parametrize("send", ["asend", "asend_robust"])
async def test_blocks_of_receivers_that_run_in_parallel_end_apart(send: str) -> None:
    signal = Signal()
    order: list[str] = []

    def receiver(name: str, commits: bool) -> Any:
        async def receive(**kwargs: Any) -> None:
            async with transaction.atomic():
                await make(name)
                await asyncio.sleep(0)
                async with transaction.atomic():
                    await make(f"{name}, inner")
                if not commits:
                    transaction.set_rollback(True)
            order.append(name)

        return receive

    for n in range(6):
        signal.connect(receiver(str(n), n % 2 == 0), weak=False)
    await getattr(signal, send)(None)
    assert sorted(order) == list("012345")
    expected = [text for n in "024" for text in (n, f"{n}, inner")]
    assert await anames() == expected
    await assert_all_back()


@pytest.mark.parametrize("send", ["asend", "asend_robust"])
async def test_receivers_share_context_variables_and_no_block_where_sync_code_waits(
    send: str,
) -> None:
    """Since Django 6 the receivers' tasks share one context."""
    signal = Signal()

    def receiver(name: str) -> Any:
        async def receive(**kwargs: Any) -> None:
            with transaction.atomic():  # a lazy wait, in the bridge of the task
                Author.objects.create(name=name)
                last.set(name)
                Author.objects.create(name=f"{name}, too")
                transaction.set_rollback(name != "2")

        return receive

    for n in range(4):
        signal.connect(receiver(str(n)), weak=False)
    async with onloop.scope():
        await getattr(signal, send)(None)
        assert await anames() == ["2", "2, too"]
    shared = django.VERSION >= (6, 0)
    assert (last.get() in list("0123")) is shared
    await assert_all_back()


@pytest.mark.parametrize("send", ["asend", "asend_robust"])
async def test_receivers_of_a_signal_that_is_sent_in_a_block_join_it(send: str) -> None:
    signal = Signal()

    async def receive(**kwargs: Any) -> None:
        async with transaction.atomic():
            await make(str(await Author.objects.acount()))

    async def other(**kwargs: Any) -> None:
        await make("other")

    def synchronous(**kwargs: Any) -> None:
        Author.objects.create(name="sync")

    for one in (receive, other, synchronous):
        signal.connect(one, weak=False)
    async with transaction.atomic():
        await getattr(signal, send)(None)
        assert await Author.objects.acount() == 3
        transaction.set_rollback(True)
    assert await anames() == []
