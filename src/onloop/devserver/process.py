"""The processes of `runserver`: one that is watched over, and one that starts it again.

Django's own parent kills its child a quarter of a second after Ctrl-C, and at once at SIGTERM.
This one gives it the time to end its server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from django.utils import autoreload

RELOAD = 3  # the exit code that asks for another process


def end_by_signal() -> None:
    """Let SIGTERM end the process as Ctrl-C does, and only one of both that come together."""
    begun = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal begun
        if begun and number == signal.SIGTERM:
            return
        begun = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return  # signals are somebody else's
    signal.signal(signal.SIGTERM, end)
    # Also where it was ignored, as in the background of a script; ASGI servers do so too.
    signal.signal(signal.SIGINT, end)


def leave(stop: Callable[[], bool], code: Any) -> NoReturn:
    """End the process with `code`, also if `stop` says that the server has not ended.

    A second Ctrl-C ends it at once.
    """
    try:
        stopped = stop()
    except KeyboardInterrupt:
        stopped = False
    if not stopped:
        # The interpreter would wait for the threads in which views run.
        sys.stderr.write("The server has not ended; its threads are left.\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)


def run_with_reloader(
    main: Callable[..., None], stop: Callable[[], bool], **options: Any
) -> NoReturn:
    """Do what `django.utils.autoreload.run_with_reloader` does.

    `main` is called with `options` in a thread of the process that is watched over, `stop` when
    that ends.
    """
    if os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) != "true":
        sys.exit(_watch())
    code: Any = 0
    try:
        reloader = autoreload.get_reloader()
        autoreload.logger.info("Watching for file changes with %s", reloader.__class__.__name__)
        autoreload.start_django(reloader, main, **options)
    except KeyboardInterrupt:
        pass
    except SystemExit as exc:
        code = exc.code
    leave(stop, code)


def _watch() -> int:
    """Start the child, again whenever it asks for it; return the exit code of the last."""
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    if getattr(sys.stdout, "write_through", False):  # python -u
        environment.setdefault("PYTHONUNBUFFERED", "1")
    child: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None:
            # Ctrl-C in a terminal has reached the child as well; SIGTERM is one too many there.
            child.send_signal(signal.SIGTERM if len(received) == 1 else signal.SIGKILL)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    while not received:
        child = subprocess.Popen(  # noqa: S603 - this very command
            autoreload.get_child_arguments(), env=environment, close_fds=False
        )
        if received:
            child.send_signal(signal.SIGTERM)  # it came while there was no child
        code = child.wait()
        if code != RELOAD and not received:
            return code
    return 0
