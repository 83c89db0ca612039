"""The application in one line, what can be wrong with it, and projects without Channels."""

from __future__ import annotations

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.urls import path

from onloop.channels import get_asgi_application
from tests.asgi.client import Exchange, Lifespan
from tests.channels.conftest import DEADLINE_S, Socket
from tests.fresh import project, python
from tests.project.library.models import Author

# Where a message goes does not depend on the database.
pytestmark = pytest.mark.only_on("postgresql")

HEADERS = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        if content == "fail":
            raise LookupError("of the consumer")
        user = self.scope.get("user")
        await self.send_json(
            [content, user and user.is_anonymous, await Author.objects.acount()]
        )


routes = [path("echo/", Echo.as_asgi())]
no_routes = "nothing"


@pytest.mark.parametrize("given", [routes, tuple(routes), f"{__name__}.routes"])
async def test_sockets_and_requests_are_served(open_socket, given):
    application = get_asgi_application(given)
    assert isinstance(application, ProtocolTypeRouter)
    socket = await open_socket(application, "/echo/", headers=HEADERS)
    assert await socket.ask("hello") == ["hello", True, 0]
    assert (await Exchange(application, "/books/")).json() == {"books": []}


async def test_the_lifespan_is_onloop_s(db_clean):
    lifespan = Lifespan(get_asgi_application(routes))
    assert await lifespan.startup() == {"type": "lifespan.startup.complete"}
    assert await lifespan.shutdown() == {"type": "lifespan.shutdown.complete"}


@pytest.mark.parametrize("headers", [[], HEADERS[:1], [*HEADERS, HEADERS[1]]])
async def test_who_does_not_come_from_a_page_of_this_site_is_refused(db_clean, headers):
    socket = Socket(get_asgi_application(routes), "/echo/", headers=headers)
    assert await socket.connect(timeout=DEADLINE_S) == (False, 1008)
    await socket.wait(DEADLINE_S)


async def test_a_consumer_that_fails_closes_its_socket_with_1011(open_socket):
    socket = await open_socket(get_asgi_application(routes), "/echo/", headers=HEADERS)
    await socket.send_json_to("fail")
    assert await socket.receive_output(DEADLINE_S) == {"type": "websocket.close", "code": 1011}
    with pytest.raises(LookupError):
        await socket.wait(DEADLINE_S)


async def test_one_that_fails_before_it_accepts_is_left_to_the_server(db_clean):
    socket = Socket(get_asgi_application(routes), "/nowhere/", headers=HEADERS)
    await socket.send_input({"type": "websocket.connect"})
    with pytest.raises(ValueError, match="No route found"):
        await socket.wait(DEADLINE_S)
    assert socket.output_queue.empty()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("no.such.routes", "'no.such.routes', could not be imported.*must be the dotted path"),
        (f"{__name__}.no_routes", r"takes a list of routes such as \[path"),
        (routes[0], r"takes a list of routes such as \[path"),
        (None, "takes a list of routes"),
    ],
)
def test_what_is_no_list_of_routes_is_an_error_that_says_so(given, problem):
    with pytest.raises(ImproperlyConfigured, match=problem):
        get_asgi_application(given)


def test_without_users_there_is_no_stack_for_them():
    said = project(
        """
        import asyncio
        from django.urls import path
        from channels.generic.websocket import AsyncWebsocketConsumer
        from channels.testing import WebsocketCommunicator
        from onloop.channels import get_asgi_application

        application = get_asgi_application([path("a/", AsyncWebsocketConsumer.as_asgi())])
        headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]

        async def main():
            socket = WebsocketCommunicator(application, "/a/", headers=headers)
            print(await socket.connect(timeout=90))
            await socket.disconnect(timeout=90)

        asyncio.run(main())
        """,
        ALLOWED_HOSTS=["testserver"],
    )
    assert said == "(True, None)"


HIDE = 'import sys; sys.modules["channels"] = None'


def test_a_project_without_channels_has_none_of_its_names_bound():
    said = python(f"""
        {HIDE}
        import django
        from django.conf import settings
        settings.configure(INSTALLED_APPS=["onloop"], SECRET_KEY="x" * 60)
        django.setup()
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import call_command
        from onloop import rebind
        from onloop.channels import get_asgi_application
        print(rebind.missing())
        try:
            get_asgi_application([])
        except ImproperlyConfigured as exc:
            print(exc)
    """)
    assert said.splitlines() == [
        "[]",
        "onloop.channels.get_asgi_application() needs Channels: "
        'pip install "django-onloop[channels]".',
    ]


def test_an_app_of_the_project_may_be_called_channels(tmp_path):
    package = tmp_path / "channels"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("")
    said = python(
        """
        import django
        from django.conf import settings
        settings.configure(INSTALLED_APPS=["onloop", "channels"], SECRET_KEY="x" * 60)
        django.setup()
        import channels
        from onloop import rebind
        print(channels.__file__, rebind.missing())
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert said == f"{package / '__init__.py'} []"


def test_importing_the_package_needs_neither_settings_nor_channels():
    python(f"""
        {HIDE}
        from django.conf import settings
        import onloop.channels
        assert not settings.configured
    """)


async def test_the_origins_of_csrf_are_those_of_sockets(open_socket):
    headers = [HEADERS[0], (b"origin", b"https://partner.example")]
    with override_settings(CSRF_TRUSTED_ORIGINS=["https://partner.example"]):
        socket = await open_socket(get_asgi_application(routes), "/echo/", headers=headers)
        assert await socket.ask("hello") == ["hello", True, 0]
