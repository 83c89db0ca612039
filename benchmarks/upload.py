"""`python -m benchmarks.upload`: a large upload, raw and as a form, and what others feel of it.

A uvicorn process has a core of its own; the upload and a client of another page, who asks every
few milliseconds, have the other. Printed are the speed, the memory that the server took at most
above what it had before, and the other client's 99th percentile before and meanwhile.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .pinning import share_out

MIB = 2**20
BOUNDARY = b"upload"
HEAD = (
    b'--%s\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n' % BOUNDARY
)
TAIL = b"\r\n--%s--\r\n" % BOUNDARY
EVERY_S = 0.003


def pin(cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


@contextmanager
def server(cores: list[int], loop: str) -> Iterator[tuple[int, int]]:
    """A uvicorn process; gives its port and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "benchmarks.upload_app:application"),
            *("--port", str(port), "--loop", loop, "--no-access-log", "--log-level", "warning"),
        ],
    )
    if cores:
        os.sched_setaffinity(process.pid, cores)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def send(port: int, kind: str, count: int, cores: list[int], answers: Any) -> None:
    """Upload `count` MiB; tell whether the answer was right, and how long it took."""
    pin(cores)
    piece = os.urandom(MIB)
    sha = hashlib.sha256()
    for _ in range(count):
        sha.update(piece)
    head, tail = (HEAD, TAIL) if kind == "form" else (b"", b"")
    content_type = b"multipart/form-data; boundary=" + BOUNDARY if head else b"application/x"
    with socket.create_connection(("127.0.0.1", port)) as client:
        begun = time.perf_counter()
        client.sendall(
            b"POST /%s/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (kind.encode(), content_type, len(head) + count * MIB + len(tail), head)
        )
        for _ in range(count):
            client.sendall(piece)
        client.sendall(tail)
        answer = b""
        while part := client.recv(2**16):
            answer += part
        took = time.perf_counter() - begun
    answers.put((sha.hexdigest().encode() in answer, took))


def ask(port: int, cores: list[int], going: Any, answers: Any) -> None:
    """Ask for another page until told to stop; give the seconds that each took."""
    pin(cores)
    client = http.client.HTTPConnection("127.0.0.1", port)
    times = []
    while going.is_set():
        begun = time.perf_counter()
        client.request("GET", "/other/")
        client.getresponse().read()
        times.append(time.perf_counter() - begun)
        time.sleep(EVERY_S)
    answers.put(times)


def memory(pid: int) -> int:
    """Bytes of the process in memory, without pages of files that it shares."""
    with open(f"/proc/{pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0]) * 1024


def p99_ms(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] * 1000


def watched(port: int, pid: int, cores: list[int], work: Any) -> tuple[list[float], int]:
    """Do `work` while another client asks; return its times and the server's most memory."""
    going, answers = multiprocessing.Event(), multiprocessing.Queue()
    going.set()
    other = multiprocessing.Process(target=ask, args=(port, cores, going, answers))
    other.start()
    most = 0
    while work():
        most = max(most, memory(pid))
        time.sleep(0.01)
    going.clear()
    times = answers.get()
    other.join()
    return times, most


def measure(port: int, pid: int, kind: str, count: int, others: list[int]) -> bool:
    until = time.monotonic() + 5
    before, _ = watched(port, pid, others, lambda: time.monotonic() < until)
    had = memory(pid)
    answers: Any = multiprocessing.Queue()
    upload = multiprocessing.Process(target=send, args=(port, kind, count, others, answers))
    upload.start()
    meanwhile, most = watched(port, pid, others, upload.is_alive)
    right, took = answers.get()
    upload.join()
    print(
        f"{kind}: {count} MiB in {took:.1f} s ({count / took:.0f} MiB/s), "
        f"{(most - had) / MIB:.1f} MiB more memory; p99 of others "
        f"{p99_ms(before):.2f} ms before, {p99_ms(meanwhile):.2f} ms meanwhile "
        f"({p99_ms(meanwhile) / p99_ms(before):.2f} x, {len(meanwhile)} requests)"
        + ("" if right else "; WRONG ANSWER"),
        flush=True,
    )
    return bool(right)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload", description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="size of the upload (2048)")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    options = parser.parse_args()
    cores, others = share_out(True)
    with server(cores, options.loop) as (port, pid):
        warm: Any = multiprocessing.Queue()
        for kind in ("raw", "form"):
            send(port, kind, 8, [], warm)
        kinds = [measure(port, pid, kind, options.mib, others) for kind in ("raw", "form")]
    return 0 if all(kinds) else 1


if __name__ == "__main__":
    sys.exit(main())
