"""Runs several programs as one: they start in order, and whatever happens, all of them end.

Each is in a session of its own, so that Ctrl-C reaches only the supervisor, which ends them in
the reverse order. One that ends by itself is started again. If the supervisor itself is killed,
the kernel (Linux) sends each of them a signal at that moment.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

READY_S = 60
# Between a look at the programs and the next, and before one is started again.
LOOK_S, AGAIN_S = 0.2, 1.0
# A program that ends by itself so often is given up, and all others with it.
MOST_STARTS = 6

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


class Failed(Exception):
    """Its text says which program failed, and where it has told why."""


class Interrupted(BaseException):
    """Somebody wants all of it to end."""


@dataclass
class Program:
    """``ready`` is asked until it says True. ``user``: whose process it is, if not ours.

    ``ends_by`` asks it to end, within ``grace_s`` seconds; ``dies_by`` is what it gets when the
    supervisor is gone. What it prints goes into ``log``, or to the terminal.
    """

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    user: str | None = None
    log: Path | None = None
    ends_by: signal.Signals = signal.SIGTERM
    dies_by: signal.Signals = signal.SIGKILL
    grace_s: float = 20
    files: tuple[int, ...] = ()
    folder: Path = Path(__file__).parent
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        output: Any = None if self.log is None else self.log.open("ab")
        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.user,
                start_new_session=True,
                pass_fds=self.files,
                preexec_fn=_dying_with(os.getpid(), self.dies_by),  # noqa: PLW1509 - no threads here
            )
        except OSError as error:
            raise Failed(f"{self.name} cannot be started: {error}") from None
        finally:
            if output is not None:
                output.close()

    @property
    def has_ended(self) -> bool:
        if self.process is None:
            return True
        # Not reaped: until `clear`, nobody else can get its number.
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, how) is not None

    def send(self, number: int) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)

    def clear(self) -> int:
        """It has ended: so does whatever it has left in its session. Returns its exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def where_it_says(self) -> str:
        return "see above" if self.log is None else f"see {self.log}"


class Supervisor:
    """``with Supervisor() as it: it.start(...); it.watch()``"""

    def __init__(self) -> None:
        self._groups: list[list[Program]] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _interrupt)
        return self

    def __exit__(self, *exc: object) -> None:
        # From here on an impatient second Ctrl-C kills them.
        for number in self._handlers:
            signal.signal(number, self._kill)
        for group in reversed(self._groups):
            _end(group)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start(self, *programs: Program) -> None:
        """Start these at once; returns when all are ready. Raises ``Failed``."""
        self._groups.append(list(programs))
        for program in programs:
            program.start()
        for program in programs:
            _wait_for(program)

    def watch(self) -> None:
        """Start again what ends by itself, until a signal ends all. Raises ``Failed``."""
        while True:
            time.sleep(LOOK_S)
            for group in self._groups:
                for program in group:
                    if program.has_ended:
                        self._again(program)

    def _again(self, program: Program) -> None:
        code = program.clear()
        what = f"{program.name} has ended with {_words(code)} ({program.where_it_says()})"
        if program.starts == MOST_STARTS:
            raise Failed(f"{what}, for the {MOST_STARTS}th time.")
        print(f"{what}; it is started again.", file=sys.stderr, flush=True)
        time.sleep(AGAIN_S)
        program.start()
        _wait_for(program)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        for group in self._groups:
            for program in group:
                if program.process is not None:
                    program.send(signal.SIGKILL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def _wait_for(program: Program) -> None:
    deadline = time.monotonic() + READY_S
    while not program.ready():
        if program.has_ended:
            code = program.clear()
            raise Failed(
                f"{program.name} has ended with {_words(code)} before it was ready "
                f"({program.where_it_says()})."
            )
        if time.monotonic() > deadline:
            raise Failed(
                f"{program.name} is not ready in {READY_S} s ({program.where_it_says()})."
            )
        time.sleep(0.05)


def _end(group: list[Program]) -> None:
    running = [program for program in group if program.process is not None]
    for program in running:
        program.send(program.ends_by)
    began = time.monotonic()
    for program in running:
        while not program.has_ended:
            if time.monotonic() - began > program.grace_s:
                program.send(signal.SIGKILL)
            time.sleep(0.02)
        program.clear()


def _words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _dying_with(parent: int, number: int) -> Callable[[], None] | None:
    """What a new process does first: it asks for a signal at its parent's death."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before that
            os._exit(1)

    return ask
