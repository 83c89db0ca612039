"""The example's settings, with an address more at which code holds the event loop."""

from __future__ import annotations

from workspace.settings import *  # noqa: F403 - these are its settings

ROOT_URLCONF = "tests.workspace.stalling_urls"
