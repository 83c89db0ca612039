"""Programs of the system that some tests start: skipped without them, by hand; never in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def is_missing(what: str) -> NoReturn:
    """Skip the test that wants `what`; fail where `ONLOOP_ALL_TESTS` is set."""
    if os.environ.get("ONLOOP_ALL_TESTS"):
        pytest.fail(what)
    pytest.skip(what)
