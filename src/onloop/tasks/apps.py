"""The Django app `onloop.tasks`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings


class TasksConfig(AppConfig):
    name = "onloop.tasks"
    label = "onloop_tasks"
    verbose_name = "Jobs"
    # Not the project's: its migration is ours.
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        backends: dict[str, Any] = getattr(settings, "TASKS", None) or {}
        if any("CeleryBackend" in str(each.get("BACKEND")) for each in backends.values()):
            # A worker must know the Celery task before a message names it.
            from onloop.tasks import tasks  # noqa: F401, PLC0415 - Celery may be missing
