"""`manage.py runserver` on an ASGI server, so that development runs what production does."""

from __future__ import annotations

import io
import re
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands.runserver import Command as DjangoCommand
from django.core.management.base import OutputWrapper

from onloop.devserver import application, process, servers
from onloop.devserver.listener import Listener, ServerEnded
from onloop.devserver.requestlog import RequestLog

# Django 5.2 does not say "WSGI".
STARTING = re.compile(r"Starting (?:WSGI )?development server at")


class Command(DjangoCommand):
    help = "Starts a development server that serves the project by ASGI, with static files."

    # None: Django's own WSGI server.
    asgi_server: type[servers.Server] | None = None
    no_server = False  # that would be another choice than the user's

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)  # type: ignore[arg-type]
        parser.add_argument(
            "--wsgi",
            action="store_true",
            dest="use_wsgi",
            help="Use Django's own WSGI server, which does not run on an event loop.",
        )
        if not apps.is_installed("django.contrib.staticfiles"):
            parser.set_defaults(use_static_handler=False)

    def run(self, **options: Any) -> None:
        if options["use_wsgi"]:
            super().run(**options)
            return
        self.asgi_server = servers.find()
        self.no_server = self.asgi_server is None
        self.listeners: list[Listener] = []
        if self.asgi_server is not None:
            # Django derives it from a mixin for threads besides, which has no meaning here.
            self.server_cls = type(
                "Listener", (Listener,), {"kind": self.asgi_server, "opened": self.listeners}
            )
        process.end_by_signal()
        if options["use_reloader"]:
            process.run_with_reloader(self.inner_run, self.stop, **options)
        try:
            self.inner_run(None, **options)
        except SystemExit as exc:  # what Django makes of Ctrl-C
            process.leave(self.stop, exc.code)

    def stop(self) -> bool:
        """End the server. Returns whether it has ended in time."""
        return all(listener.stop() for listener in self.listeners)

    def inner_run(self, *args: Any, **options: Any) -> None:
        try:
            super().inner_run(*args, **options)
        except ServerEnded as exc:
            if not options["use_reloader"]:
                raise
            # What is wrong stands above. Mended, the project is started again.
            self.stderr.write(f"{exc} It is started again when a file changes.")

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return the ASGI application; for Django's own server the WSGI application."""
        if self.asgi_server is None:
            return super().get_handler(*args, **options)
        if not options["use_threading"]:
            self.stdout.write("--nothreading has no meaning with an ASGI server.")
        served: Any = application.load()
        if application.is_stock(served):
            self.stderr.write(
                self.style.WARNING(
                    "ASGI_APPLICATION is Django's own handler. For Onloop's, write in that "
                    "module: from onloop.asgi import get_asgi_application"
                )
            )
        if options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"]):
            served = ASGIStaticFilesHandler(served)
        return RequestLog(served)

    def on_bind(self, server_port: int) -> None:
        """Tell which server serves where."""
        if self.asgi_server is None:
            super().on_bind(server_port)
            if self.no_server:
                self.stdout.write(
                    self.style.WARNING(
                        "No ASGI server is installed, so this is Django's WSGI server, without "
                        "an event loop. To have Onloop's handler: pip install uvicorn"
                    )
                )
            return
        stdout, self.stdout = self.stdout, OutputWrapper(io.StringIO())
        try:
            super().on_bind(server_port)
            text = self.stdout.getvalue()
        finally:
            self.stdout = stdout
        label = self.asgi_server.label()
        self.stdout.write(STARTING.sub(f"Starting ASGI development server ({label}) at", text))
