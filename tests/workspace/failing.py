"""The example's settings, with an address more whose view has a fault."""

from __future__ import annotations

from workspace.settings import *  # noqa: F403 - these are its settings

ROOT_URLCONF = "tests.workspace.failing_urls"
