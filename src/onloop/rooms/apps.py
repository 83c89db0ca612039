"""The Django app `onloop.rooms`."""

from __future__ import annotations

from django.apps import AppConfig


class RoomsConfig(AppConfig):
    name = "onloop.rooms"
    label = "onloop_rooms"
    verbose_name = "Rooms"
    # Not the project's: its migration is ours.
    default_auto_field = "django.db.models.BigAutoField"
