"""Python in a process of its own, for what can be seen only once or only from the start."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from tests.postgres import ROOT

CONFIGURE = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS={apps!r},
    DATABASES={databases!r},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="one that guards nothing, and has the length that the checks want to see",
    **{others!r},
)
django.setup()
"""
SQLITE = {"default": {"ENGINE": "onloop.db.backends.sqlite3", "NAME": ":memory:"}}


def python(code: str, **environment: str) -> str:
    """Run `code` with warnings as errors and without settings; return what it prints."""
    inherited = {key: value for key, value in os.environ.items() if "DJANGO" not in key}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def project(code, apps=("onloop",), databases=SQLITE, **others):
    """Run `code` in a Django project with these settings; return what it prints."""
    configure = CONFIGURE.format(apps=list(apps), databases=databases, others=others)
    return python(configure + textwrap.dedent(code))
