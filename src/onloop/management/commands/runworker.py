"""`manage.py runworker`: Channels' own command, with a worker that ends well."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

try:
    from channels.management.commands.runworker import Command as ChannelsCommand
except ImportError:  # it is not installed, or a project's own app has that name

    class Command(BaseCommand):
        help = "Runs consumers on named channels, which needs Channels."

        def add_arguments(self, parser: Any) -> None:
            parser.add_argument("channels", nargs="*")

        def handle(self, *args: Any, **options: Any) -> None:
            raise CommandError(
                'runworker needs Channels: pip install "django-onloop[channels]".'
            )

else:
    from onloop.asgi.lifespan import StartFailed
    from onloop.channels.worker import Worker

    class Command(ChannelsCommand):  # type: ignore[no-redef]
        help = "Runs consumers on named channels; ends by SIGTERM or Ctrl-C."
        worker_class = Worker

        def handle(self, *args: Any, **options: Any) -> None:
            try:
                super().handle(*args, **options)
            except StartFailed as exc:
                raise CommandError(str(exc)) from None
