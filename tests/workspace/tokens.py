"""Bearer tokens of the example service, by its command."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

from tests.workspace.conftest import WORKSPACE


def bearer_tokens(env: dict[str, str], *arguments: str) -> str:
    """`manage.py bearer_tokens …`: what it writes to standard output."""
    done = subprocess.run(
        [sys.executable, "manage.py", "bearer_tokens", *arguments],
        cwd=WORKSPACE,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def issue(env: dict[str, str], username: str) -> str:
    """One for each account and database: the command takes a while."""
    return _issued(tuple(env.items()), username)


@cache
def _issued(env: tuple[tuple[str, str], ...], username: str) -> str:
    answer = bearer_tokens(dict(env), "issue", username, "--name", "a test", "--expires", "1d")
    return answer.strip()
