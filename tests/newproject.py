"""Projects as `django-admin startproject` makes them, put on Onloop as the README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    """The environment for a new project: nothing of the test project is in it."""
    left_out = {"DJANGO_SETTINGS_MODULE", "ONLOOP_TEST_DB"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | more


def run(project: Path, *command: str) -> str:
    """Run a command of the new project and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def replace(file: Path, old: str, new: str) -> None:
    """Replace what stands once in a file."""
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new))


def make(folder: Path) -> Path:
    """Make the project `mysite` in `folder`."""
    run(folder, "django", "startproject", "mysite", ".")
    site = folder / "mysite"
    replace(site / "settings.py", "INSTALLED_APPS = [", 'INSTALLED_APPS = [\n    "onloop",')
    replace(site / "settings.py", "django.db.backends.sqlite3", "onloop.db.backends.sqlite3")
    replace(site / "asgi.py", "django.core.asgi", "onloop.asgi")
    return folder
