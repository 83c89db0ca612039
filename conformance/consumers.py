"""Runs Channels' tests in this process: `python consumers.py CHECKOUT tests`.

As `drf.py`, from a checkout of Channels, whose package is the one that is tested. Its async
tests have event loops of their own, so nothing here is in a bridge but what Onloop puts there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import worker
from django.conf import LazySettings
from drf import Recorder


def setup(self: LazySettings, name: str | None = None) -> None:
    """Stand for `LazySettings._setup`: the suite's settings, on the databases of this run."""
    _setup(self, name)
    made = json.loads(os.environ["CONFORMANCE_DATABASES"])
    self.DATABASES = {"default": made["default"]}
    if os.environ["CONFORMANCE_ENGINE"] == "onloop":
        self.INSTALLED_APPS = ["onloop", *self.INSTALLED_APPS]


_setup = LazySettings._setup


def run(folder: Path, labels: list[str]) -> int:
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    LazySettings._setup = setup  # type: ignore[method-assign]
    without = ("cacheprovider", "anyio", "onloop", "timeout", "xdist")
    options = [option for name in without for option in ("-p", f"no:{name}")]
    # Some of its tests want Selenium.
    options.append("--continue-on-collection-errors")
    code = int(pytest.main([*options, *labels], [Recorder()]))
    if os.environ["CONFORMANCE_ENGINE"] == "onloop":
        from channels import consumer

        assert Path(consumer.__file__).is_relative_to(folder), "another Channels was tested"
        assert consumer.await_many_dispatch.__module__ == "onloop.channels.consumers"
    return code


if __name__ == "__main__":
    sys.exit(run(*worker.started()) > pytest.ExitCode.TESTS_FAILED)
