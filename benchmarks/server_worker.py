"""A process with a real server in it, a child: uvicorn for ASGI, gunicorn's threads for WSGI.

It answers each line on stdin with the CPU time of the server so far, and ends the server at the
end of input.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from .contenders import CONTENDERS
from .worker import begin

# gunicorn's threads: as many as there are clients at once.
THREADS = 20
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def command(name: str, fd: int) -> list[str]:
    if CONTENDERS[name].wsgi:
        return [
            *(sys.executable, "-m", "gunicorn", f"benchmarks.served:{name}"),
            *("--worker-class", "gthread", "--workers", "1", "--threads", str(THREADS)),
            *("--bind", f"fd://{fd}", "--keep-alive", "60", "--log-level", "warning"),
        ]
    return [sys.executable, "-m", "benchmarks.served", name, str(fd)]


def cpu_s(session: int) -> float:
    """CPU time of the processes of `session`, less this one: gunicorn has two."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and int(stat.parent.name) != os.getpid():
                total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def main() -> None:
    name, answers = begin()
    server = "gunicorn" if CONTENDERS[name].wsgi else "uvicorn"
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        fd = listening.fileno()
        child = subprocess.Popen(
            command(name, fd), pass_fds=[fd], stdin=subprocess.DEVNULL, stdout=2
        )
        try:
            # Who connects before the application is there waits in the backlog.
            versions = CONTENDERS[name].versions() | {server: version(server)}
            ready = {"ready": versions, "port": listening.getsockname()[1]}
            print(json.dumps(ready), file=answers, flush=True)
            while sys.stdin.readline():
                print(json.dumps({"cpu": cpu_s(os.getsid(0))}), file=answers, flush=True)
        finally:
            child.terminate()
            try:
                child.wait(3)
            except subprocess.TimeoutExpired:
                child.kill()


if __name__ == "__main__":
    main()
