"""The project with sockets, where the dead are never found dead: for R14's planted fault."""

from tests.project.asgi_sockets import application

__all__ = ["application"]

from onloop.rooms import presence  # when the apps are loaded

presence.BEATS = 10_000
