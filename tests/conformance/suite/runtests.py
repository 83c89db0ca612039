"""What `conformance/worker.py` uses of Django's `runtests.py`, for tests of our own."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.test.utils import get_runner

ALWAYS_INSTALLED_APPS = ["django.contrib.contenttypes"]


def django_tests(*, test_labels: list[str], **options: Any) -> int:
    settings.INSTALLED_APPS = ALWAYS_INSTALLED_APPS
    settings.TEST_RUNNER = "django.test.runner.DiscoverRunner"
    django.setup()
    return get_runner(settings)(verbosity=0, interactive=False).run_tests(test_labels)
