from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Work that outlives its request, on top of ``onloop.tasks``."""

    name = "jobs"
