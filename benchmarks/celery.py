"""`python -m benchmarks.celery`: 200 tasks that wait a second each, in one worker.

Onloop's pool, and stock Celery's prefork pool with `async_to_sync`, one after the other, on a
Redis that is started for the run. Printed are the seconds from the first message to the last
result, and the cost of a task that does not wait.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTENDERS = {
    "Onloop's pool, 200 at once": ("onloop", "custom", 200),
    "prefork, 2 processes": ("stock", "prefork", 2),
    "prefork, 8 processes": ("stock", "prefork", 8),
}
DEADLINE_S = 300


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of this run's own; gives its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("There is no redis-server (Debian: apt-get install redis-server).")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                program,
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                folder,
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: answers(port))
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def wait_until(true) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit("It did not come about.")
        time.sleep(0.05)


@contextmanager
def worker(env: dict[str, str], pool: str, concurrency: int) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "benchmarks.celery_app", "worker"),
                    *("--pool", pool, "--concurrency", str(concurrency), "-l", "INFO"),
                    *("--without-gossip", "--without-mingle"),
                ],
                env=env,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(lambda: " ready." in log.read_text() or process.poll() is not None)
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def send(count: int, seconds: float) -> None:
    """The sender's process: prints the seconds it all took, and the loops that were seen."""
    from celery import group

    from benchmarks.celery_app import wait

    group(wait.s(0) for _ in range(20))().get(timeout=DEADLINE_S)
    began = time.perf_counter()
    loops = group(wait.s(seconds) for _ in range(count))().get(timeout=DEADLINE_S)
    print(time.perf_counter() - began, len(set(loops)))


def measure(env: dict[str, str], count: int, seconds: float) -> tuple[float, int]:
    command = [sys.executable, "-m", "benchmarks.celery", "--send", str(count), str(seconds)]
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    took, loops = told.stdout.split()
    return float(took), int(loops)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.send:
        send(int(given.send[0]), float(given.send[1]))
        return
    print(f"{given.tasks} tasks, seconds from the first message to the last result")
    print(f"{'':28} {'wait 1 s':>9} {'loops':>6} {'wait 0 s':>9}")
    for name, (kind, pool, concurrency) in CONTENDERS.items():
        with redis() as url:
            env = {
                **os.environ,
                "ONLOOP_BENCH_REDIS": url,
                "ONLOOP_BENCH_CELERY": kind,
                "CELERY_CUSTOM_WORKER_POOL": "onloop.celery:TaskPool",
            }
            with worker(env, pool, concurrency):
                took, loops = measure(env, given.tasks, 1)
                quick, _ = measure(env, given.tasks, 0)
        print(f"{name:28} {took:9.2f} {loops:6} {quick:9.2f}", flush=True)


if __name__ == "__main__":
    main()
