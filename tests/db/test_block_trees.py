"""Random trees of blocks and tasks, cancelled at random: what is there is what was promised.

A row is there if and only if it was written, and every block around it was left without an
exception and did not complain. Nothing else decides: not who was cancelled, nor when.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from tests.project.library.models import Author

from .eventually import eventually
from .helpers import all_back, anames

pytestmark = pytest.mark.usefixtures("db_clean")

TREES = 25


class Rollback(Exception):
    """Ends a block whose rows are to go."""


@dataclass
class Block:
    """One block of the tree. `left_whole`: its body came to its end."""

    outer: Block | None
    left_whole: bool = False
    complained: bool = False

    @property
    def stands(self) -> bool:
        return (
            self.left_whole
            and not self.complained
            and (self.outer is None or self.outer.stands)
        )


class Tree:
    """One run: what it does is decided by `chance`, what it did is remembered."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.numbers = itertools.count()
        self.written: list[tuple[str, Block]] = []
        self.registered: list[Block] = []
        self.called: list[Block] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def block(self, outer: Block | None, depth: int) -> None:
        mine = Block(outer)
        try:
            async with transaction.atomic():
                await self.body(mine, depth)
                mine.left_whole = True
        except (DatabaseError, Rollback):
            mine.complained = mine.left_whole
            if outer is not None and self.chance.random() < 0.5:
                raise

    async def body(self, mine: Block, depth: int) -> None:
        for _ in range(self.chance.randint(1, 4)):
            what = self.chance.random()
            if what < 0.4 or depth == 0:
                await self.write(mine)
            elif what < 0.55:
                await self.block(mine, depth - 1)
            elif what < 0.65:
                await self.together(mine, depth - 1)
            elif what < 0.72:
                transaction.on_commit(lambda: self.called.append(mine))
                self.registered.append(mine)
            elif what < 0.8:
                await asyncio.sleep(0)
            elif what < 0.9:
                await self.impatient(mine, depth - 1)
            elif what < 0.93:
                raise Rollback

    async def write(self, mine: Block) -> None:
        name = str(next(self.numbers))
        await Author.objects.acreate(name=name)
        self.written.append((name, mine))

    async def together(self, mine: Block, depth: int) -> None:
        children = [
            asyncio.create_task(self.chance.choice([self.block, self.body])(mine, depth))
            for _ in range(self.chance.randint(1, 3))
        ]
        self.tasks += children
        # `gather` does not wait for the others when one fails: they outlive their block.
        await asyncio.gather(*children, return_exceptions=self.chance.random() < 0.8)

    async def impatient(self, mine: Block, depth: int) -> None:
        """A time-out that is swallowed, around a block or around bare statements."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.chance.choice([0, 0.001, 0.003])):
                await self.chance.choice([self.block, self.body])(mine, depth)

    async def grow(self) -> None:
        roots = [asyncio.create_task(self.block(None, 3)) for _ in range(3)]
        self.tasks += roots
        for _ in range(self.chance.choice([0, 0, 1, 2])):
            for _ in range(self.chance.randint(0, 30)):
                await asyncio.sleep(0)
            self.chance.choice(self.tasks).cancel()
        while waiting := [task for task in self.tasks if not task.done()]:
            await asyncio.wait(waiting)
        for task in self.tasks:
            if not task.cancelled():
                task.exception()  # seen: what was complained about is in the blocks


@pytest.mark.parametrize("seed", range(TREES))
async def test_a_row_is_there_if_and_only_if_every_block_around_it_stands(seed: int) -> None:
    tree = Tree(seed)
    await tree.grow()
    await eventually(all_back)
    promised = sorted(name for name, block in tree.written if block.stands)
    assert sorted(await anames()) == promised
    due = [id(block) for block in tree.registered if block.stands]
    assert sorted(map(id, tree.called)) == sorted(due)
