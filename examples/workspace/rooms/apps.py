from django.apps import AppConfig


class RoomsConfig(AppConfig):
    """A live chat on top of ``onloop.rooms``."""

    name = "rooms"
