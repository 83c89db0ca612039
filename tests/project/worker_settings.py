"""The project as `manage.py runworker` has it."""

from tests.project.settings import *  # noqa: F403

ASGI_APPLICATION = "tests.project.asgi_worker.application"
