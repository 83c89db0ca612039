from django.apps import AppConfig


class PanelsConfig(AppConfig):
    """A page that is fed by three services on other servers."""

    name = "panels"
