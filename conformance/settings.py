"""The settings that Django's tests run with: its own, on databases of ours."""

import json
import os

from test_sqlite import *  # noqa: F403 - beside Django's `runtests.py`

# `default` and `other`, as the process that started this one wants them.
DATABASES = json.loads(os.environ["CONFORMANCE_DATABASES"])
