from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Who is here, and in which role."""

    name = "accounts"
