from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """What the processes of this service do at this moment, for those who run it."""

    name = "operations"
