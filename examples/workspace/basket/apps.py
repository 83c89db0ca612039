from django.apps import AppConfig


class BasketConfig(AppConfig):
    """What somebody means to order from the catalogue."""

    name = "basket"
