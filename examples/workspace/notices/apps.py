from django.apps import AppConfig


class NoticesConfig(AppConfig):
    """What a user is told, from everywhere in the service."""

    name = "notices"
