"""The harness of R10: transfers between accounts, and the sum that must never change.

Accounts are books, their price is the balance. A transfer locks two of them, in either order,
so that transfers deadlock; some run at a higher isolation level and fail to serialize; others
are cancelled, timed out or fail half-way, and back ends are killed. What can be retried is.
An outsider adds up all balances while that goes on, and every account's history after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction

import onloop
from onloop import bridge
from onloop.testing.stacks import Stack
from tests.db.helpers import PUBLISHED
from tests.project.library.models import Author, Book
from tests.reliability.findings import Findings
from tests.reliability.kills import Killer
from tests.reliability.random_cancels import AtWait
from tests.reliability.scale import HANG_S

ACCOUNTS = 6
BALANCE = Decimal(1000)
TOTAL = ACCOUNTS * BALANCE
SUM = "SELECT sum(price) FROM library_book"
BALANCES = "SELECT id, price FROM library_book ORDER BY id"
RETRIES = 50


def open_accounts() -> list[int]:
    owner = Author.objects.create(name="the bank")
    books = [
        Book(author=owner, title=f"account {n}", published=PUBLISHED, price=BALANCE)
        for n in range(ACCOUNTS)
    ]
    return [Book.objects.create(**_fields(book)).pk for book in books]


def _fields(book: Book) -> dict[str, Any]:
    return {
        "author": book.author,
        "title": book.title,
        "published": book.published,
        "price": book.price,
    }


class Transfer:
    """One transfer, how it is to go wrong, and what its caller was told."""

    def __init__(self, number: int, chance: random.Random, accounts: list[int]) -> None:
        self.number = number
        self.source, self.target = chance.sample(accounts, 2)
        self.amount = Decimal(chance.randint(1, 20))
        self.level = chance.choice(["read committed", "repeatable read", "serializable"])
        self.fault = chance.choice(
            [None, None, None, "error", "cancel", "cancel", "time-out", "inner error"]
        )
        self.at = chance.randrange(10)
        # Set when the body of the block is done, for the attempt that is under way.
        self.body_done = False
        self.told = "nothing"


class Bank:
    """`await Bank(seed, outsider=…, count=…).run(findings)`."""

    def __init__(
        self,
        seed: int,
        *,
        count: int,
        at_once: int,
        outsider: Callable[[str], list[Any]],
        killer: Killer | None = None,
        accounts: list[int],
        stop_early: bool = False,
    ) -> None:
        self.chance = random.Random(seed)
        self.count = count
        self.at_once = at_once
        self.outsider = outsider
        self.killer = killer
        self.accounts = accounts
        self.stop_early = stop_early
        self.transfers: list[Transfer] = []
        self.findings: Findings

    async def run(self, findings: Findings) -> None:
        self.findings = findings
        workers = {
            asyncio.create_task(self._work(), name=f"worker {n}") for n in range(self.at_once)
        }
        _, hanging = await asyncio.wait(workers, timeout=HANG_S)
        for task in hanging:
            findings.add("hangs", f"{task.get_name()}\n{Stack.of(task)}")
            task.cancel()
        for task in workers - hanging:
            task.result()
        if self.killer is not None:
            findings.counts["kills"] += len(self.killer.killed)
            await self.killer.until_gone()

    async def _work(self) -> None:
        while len(self.transfers) < self.count:
            if self.stop_early and self.findings.kinds:
                return
            transfer = Transfer(len(self.transfers), self.chance, self.accounts)
            self.transfers.append(transfer)
            if transfer.number % 10 == 0:
                await self.look()
            await self._carry_out(transfer)

    async def look(self) -> None:
        """Add up, as an outsider sees it at this moment."""
        ((total,),) = await asyncio.to_thread(self.outsider, SUM)
        self.findings.counts["looks from outside"] += 1
        if Decimal(str(total)) != TOTAL:
            self.findings.add("the sum has changed", f"{total} during the run")

    async def _carry_out(self, transfer: Transfer) -> None:
        coro: Any = self._until_done(transfer)
        if transfer.fault == "cancel":
            coro = AtWait(coro, transfer.at, lambda _: task.cancel())
        task = asyncio.create_task(coro, name=f"transfer {transfer.number}")
        await asyncio.wait({task})
        transfer.told = "done"
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        if exc is not None:
            transfer.told = "failed"
            if not isinstance(exc, (asyncio.CancelledError, TimeoutError, ZeroDivisionError)):
                self.findings.add("error without a cause", f"{transfer.number}: {exc!r}")

    async def _until_done(self, transfer: Transfer) -> None:
        """Try again what the database has rolled back for reasons of its own."""
        for _ in range(RETRIES):
            transfer.body_done = False
            try:
                async with onloop.scope():
                    await self._attempt(transfer)
                return
            except (OperationalError, InterfaceError) as exc:
                if transfer.body_done and _is_lost(exc):
                    # The answer to COMMIT got lost: a second try might pay twice.
                    self.findings.counts["of unknown outcome"] += 1
                    return
                self.findings.counts["retried"] += 1
                self.findings.counts[f"retried: {_cause(exc)}"] += 1
        raise OperationalError("a transfer was tried too often")

    async def _attempt(self, transfer: Transfer) -> None:
        limit = None if transfer.fault != "time-out" else 0
        async with asyncio.timeout(None) as timeout, transaction.atomic():
            if connection.vendor == "postgresql":
                await bridge.run(_set_level, transfer.level)
            source = await self._locked(transfer.source)
            await self._step()
            if transfer.fault == "inner error":
                await self._take_back_half(source, transfer.amount)
            source.price -= transfer.amount
            await source.asave(update_fields=["price"])
            await self._step()
            if transfer.fault == "error":
                raise ZeroDivisionError
            if limit is not None:
                timeout.reschedule(limit)
                await asyncio.sleep(0)
            target = await self._locked(transfer.target)
            target.price += transfer.amount
            await target.asave(update_fields=["price"])
            await self._step()
            transfer.body_done = True

    async def _take_back_half(self, source: Book, amount: Decimal) -> None:
        """A payment in an inner block that is rolled back."""
        with contextlib.suppress(ZeroDivisionError):
            async with transaction.atomic():
                await Book.objects.filter(pk=source.pk).aupdate(price=source.price - amount)
                await self._step()
                raise ZeroDivisionError

    async def _locked(self, account: int) -> Book:
        return await Book.objects.select_for_update().aget(pk=account)

    async def _step(self) -> None:
        await asyncio.sleep(0)
        if self.killer is not None:
            await self.killer.step()

    # --- what came of it ------------------------------------------------------------------

    def check(self) -> None:
        """The sum, and, where every outcome is known, each balance."""
        findings = self.findings
        balances = dict(self.outsider(BALANCES))
        total = sum(Decimal(str(price)) for price in balances.values())
        if total != TOTAL:
            findings.add("the sum has changed", f"{total} after the run")
        findings.counts.update(Counter(transfer.told for transfer in self.transfers))
        unsure = findings.counts["of unknown outcome"] + sum(
            transfer.told == "failed" and transfer.body_done for transfer in self.transfers
        )
        findings.counts["told to fail at COMMIT"] = unsure
        if not unsure:
            expected = dict.fromkeys(self.accounts, BALANCE)
            for transfer in self.transfers:
                if transfer.told == "done":
                    expected[transfer.source] -= transfer.amount
                    expected[transfer.target] += transfer.amount
            if any(Decimal(str(balances[pk])) != expected[pk] for pk in self.accounts):
                findings.add("balances", f"{balances}, not {expected}")


def _set_level(level: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")


def _cause(exc: Exception) -> str:
    state = getattr(exc.__cause__, "sqlstate", None)
    names = {"40001": "not serializable", "40P01": "deadlock", "57P01": "killed"}
    return names.get(state or "", "connection lost" if _is_lost(exc) else "locked")


def _is_lost(exc: Exception) -> bool:
    """Whether the connection went away, so that nobody knows what came of a COMMIT."""
    return getattr(exc.__cause__, "sqlstate", None) not in {"40001", "40P01"} and (
        connection.vendor == "postgresql"
    )
