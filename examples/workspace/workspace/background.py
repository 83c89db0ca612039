"""Django's tasks framework: its own from 6.0 on, before that the package ``django-tasks``."""

try:
    from django.tasks import task, task_backends
    from django.tasks.signals import task_enqueued, task_finished, task_started

    PACKAGE = "django.tasks"
except ImportError:
    from django_tasks import task, task_backends
    from django_tasks.signals import task_enqueued, task_finished, task_started

    PACKAGE = "django_tasks"

__all__ = [
    "PACKAGE",
    "task",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
