"""One of several processes that write to a SQLite file: `python -m tests.db.sqlite_writer`.

Arguments: a name for its rows, how many tasks, how many rounds of each. Says "ready", waits for
a line on standard input, so that all begin at once, and prints how many rows it has written.
"""

from __future__ import annotations

import asyncio
import sys

import django


async def main(name: str, tasks: int, rounds: int) -> int:
    from django.db import connection, transaction

    from onloop import bridge
    from tests.project.library.models import Author, Tag

    def many(rows: list[str]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO library_author (name) VALUES (%s)", [(row,) for row in rows]
            )

    async def work(task: int) -> int:
        written = 0
        for n in range(rounds):
            row = f"{name} {task} {n}"
            async with transaction.atomic():
                counter = await Tag.objects.aget(pk=1)
                await Author.objects.acreate(name=f"{row} block")
                counter.name = str(int(counter.name) + 1)
                await counter.asave()
            await Author.objects.acreate(name=f"{row} alone")
            await bridge.run(many, [f"{row} many {i}" for i in range(3)])
            written += 5
        return written

    return sum(await asyncio.gather(*(work(task) for task in range(tasks))))


if __name__ == "__main__":
    django.setup()
    print("ready", flush=True)
    sys.stdin.readline()
    print(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), flush=True)
