from django.apps import AppConfig


class FilesConfig(AppConfig):
    """Files of the people who log in, on top of ``onloop.files``."""

    name = "files"
