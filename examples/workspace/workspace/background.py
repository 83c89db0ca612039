"""Django's tasks framework: its own from 6.0 on, before that the package ``django-tasks``."""

try:
    from django.tasks import task, task_backends

    PACKAGE = "django.tasks"
except ImportError:
    from django_tasks import task, task_backends

    PACKAGE = "django_tasks"

__all__ = ["PACKAGE", "task", "task_backends"]
