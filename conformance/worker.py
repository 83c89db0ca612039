"""Runs labels of Django's tests in this process, inside a bridge or as Django does.

    python worker.py TESTS LABEL [LABEL ...]

TESTS is the folder of Django's `runtests.py`. `CONFORMANCE_ENGINE` is "onloop" (everything, the
making of test databases included, runs in one bridge of one task of a running loop) or "stock".
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any


def run(tests: Path, labels: list[str]) -> int:
    sys.path.insert(0, str(tests))
    os.chdir(tests)
    tempfile.tempdir = os.environ["TMPDIR"]
    import runtests  # type: ignore[import-not-found]

    from conformance.recorder import RecordingRunner

    onloop = os.environ["CONFORMANCE_ENGINE"] == "onloop"
    if onloop:
        runtests.ALWAYS_INSTALLED_APPS.insert(0, "onloop")
    if os.environ.get("CONFORMANCE_HANDLER"):
        from conformance.handler import serve_by_onloop

        serve_by_onloop()
    runtests.get_runner = lambda settings: RecordingRunner
    options: dict[str, Any] = dict.fromkeys(
        ("failfast", "keepdb", "reverse", "debug_sql", "pdb", "buffer", "timing", "shuffle"),
        False,
    )
    options.update(
        verbosity=1, interactive=False, test_labels=labels, parallel=1, tags=None,
        exclude_tags=None, test_name_patterns=None, start_at=None, start_after=None,
    )  # fmt: skip
    if not onloop:
        return int(runtests.django_tests(**options))

    from onloop import bridge

    async def on_the_loop() -> int:
        return int(await bridge.run(runtests.django_tests, **options))

    return asyncio.run(on_the_loop())


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    # Django's tests come first: this project must not be found in their place.
    here = Path(__file__).resolve().parent
    sys.path.remove(str(here))
    sys.path.append(str(here.parent))
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]) > 0)
