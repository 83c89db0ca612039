"""The Django app `onloop.tokens`."""

from __future__ import annotations

from django.apps import AppConfig


class TokensConfig(AppConfig):
    name = "onloop.tokens"
    label = "onloop_tokens"
    verbose_name = "Bearer tokens"
    # Not the project's: its migration is ours.
    default_auto_field = "django.db.models.BigAutoField"
