"""Runs labels of Django's tests in this process, inside a bridge or as Django does.

    python worker.py TESTS LABEL [LABEL ...]

TESTS is the folder of Django's `runtests.py`. `CONFORMANCE_ENGINE` is "onloop" (everything, the
making of test databases included, runs in one bridge of one task of a running loop, unless
`CONFORMANCE_OUTSIDE` is set) or "stock".
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(tests: Path, labels: list[str]) -> None:
    sys.path.insert(0, str(tests))
    os.chdir(tests)
    tempfile.tempdir = os.environ["TMPDIR"]
    os.environ["DJANGO_SETTINGS_MODULE"] = "conformance.settings"
    import runtests  # type: ignore[import-not-found]

    from conformance.recorder import RecordingRunner

    if os.environ["CONFORMANCE_ENGINE"] == "onloop":
        runtests.ALWAYS_INSTALLED_APPS.insert(0, "onloop")
        if os.environ["CONFORMANCE_HANDLER"]:
            from conformance.handler import serve_by_onloop

            serve_by_onloop()
        if os.environ["CONFORMANCE_REDIS"]:
            from conformance.cache import cache_by_onloop

            cache_by_onloop()
    runtests.get_runner = lambda settings: RecordingRunner
    options: dict[str, Any] = dict.fromkeys(
        ("failfast", "keepdb", "reverse", "debug_sql", "pdb", "buffer", "timing", "shuffle"),
        False,
    )
    options.update(
        verbosity=1, interactive=False, test_labels=labels, parallel=1, tags=None,
        exclude_tags=None, test_name_patterns=None, start_at=None, start_after=None,
    )  # fmt: skip
    here_or_in_a_bridge(runtests.django_tests, **options)


def here_or_in_a_bridge(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `function`; on a running loop, inside a bridge, where Onloop is judged."""
    if os.environ["CONFORMANCE_ENGINE"] != "onloop" or os.environ["CONFORMANCE_OUTSIDE"]:
        return function(*args, **kwargs)

    from onloop import bridge

    async def on_the_loop() -> Any:
        return await bridge.run(function, *args, **kwargs)

    return asyncio.run(on_the_loop())


def started() -> tuple[Path, list[str]]:
    """Make this a worker: its arguments, and modules of the suite before those of this one."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    here = Path(__file__).resolve().parent
    sys.path.remove(str(here))
    sys.path.append(str(here.parent))
    return Path(sys.argv[1]), sys.argv[2:]


if __name__ == "__main__":
    run(*started())  # what became of the tests is in the events
