"""`python -m benchmarks.live`: messages a second, and memory of idle sockets."""

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.endpoints import BOOKS, book_row
from benchmarks.pinning import pin, share_out
from benchmarks.postgres import ROOT, Database, database

from .client import ask_in_turn, open_sockets, say_to_all
from .served import NAMES

AT_ONCE = 20
IN_ROOM = 100
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TITLE = 1


def echo(number: int) -> tuple[str, str]:
    return f"message {number}", f"message {number}"


def query(number: int) -> tuple[str, str]:
    book = number % BOOKS + 1
    return str(book), str(book_row(book)[_TITLE])


class Server:
    """One application on uvicorn, in a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def memory(self) -> int:
        """Bytes that are resident."""
        statm = Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(statm.split()[1]) * _PAGE

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/task").iterdir()))


@contextmanager
def serve(name: str, cores: list[int], database: Database) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        fd = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.live.served", name, str(fd), json.dumps(cores)],
            pass_fds=[fd],
            cwd=ROOT,
            env=os.environ | database.environment(),
            start_new_session=True,
        )
        try:
            yield Server(listening.getsockname()[1], process)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def measure(server: Server, what: str, seconds: float) -> float:
    sockets = await open_sockets(server.port, what, IN_ROOM if what == "broadcast" else AT_ONCE)
    try:
        if what == "broadcast":
            await say_to_all(sockets, seconds / 4)
            return await say_to_all(sockets, seconds)
        question: Callable[[int], tuple[str, str]] = query if what == "query" else echo
        await ask_in_turn(sockets, question, seconds / 4)
        return await ask_in_turn(sockets, question, seconds)
    finally:
        for each in sockets:
            each.close()


async def memory_of(server: Server, count: int) -> float:
    """KiB that each of `count` sockets takes on which nothing happens."""
    few = await open_sockets(server.port, "echo", 50)  # what is loaded once is there
    before = server.memory()
    sockets = await open_sockets(server.port, "echo", count)
    after = server.memory()
    for each in few + sockets:
        each.close()
    return (after - before) / count / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="0: memory alone")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--idle", type=int, default=2000, help="sockets without messages")
    parser.add_argument("--only", default=",".join(NAMES))
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    servers, rest = share_out()
    pin(rest)
    speeds: dict[tuple[str, str], list[float]] = {}
    memory: dict[str, float] = {}
    threads: dict[str, int] = {}
    with database(rest) as db:
        for _ in range(arguments.rounds):
            for name in names:
                with serve(name, servers, db) as server:
                    for what in ("echo", "query", "broadcast"):
                        if name == "bare" and what != "echo":
                            continue
                        speed = asyncio.run(measure(server, what, arguments.seconds))
                        speeds.setdefault((name, what), []).append(speed)
                    threads[name] = max(threads.get(name, 0), server.threads())
        for name in names:
            with serve(name, servers, db) as server:
                memory[name] = asyncio.run(memory_of(server, arguments.idle))
                threads[name] = max(threads.get(name, 0), server.threads())
    packages = ("channels", "uvicorn", "websockets", "Django", "psycopg")
    print(", ".join(f"{package} {version(package)}" for package in packages))
    print(f"\nMessages a second, medians of {arguments.rounds} rounds (in brackets: of all)")
    for what in ("echo", "query", "broadcast"):
        for name in names:
            if found := speeds.get((name, what)):
                spread = f"{min(found):.0f} to {max(found):.0f}"
                print(f"{what:>10} {name:>8} {median(found):9.0f}  ({spread})")
    print(f"\nKiB an idle socket, of {arguments.idle}; threads of the process")
    for name in names:
        print(f"{name:>19} {memory[name]:9.1f}  {threads[name]}")


if __name__ == "__main__":
    main()
