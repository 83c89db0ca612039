from django.apps import AppConfig


class WorkspaceConfig(AppConfig):
    """The project itself as an app: its templates, its style sheet and the ``seed`` command."""

    name = "workspace"

    def ready(self) -> None:
        from workspace import jobids

        jobids.connect()
