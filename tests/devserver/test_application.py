"""Which application `manage.py runserver` serves: the setting `ASGI_APPLICATION`."""

from __future__ import annotations

import socket

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    RejectConnection,
    Request,
    TextMessage,
)

from onloop.devserver.servers import SERVERS
from tests.devserver.site import TIMEOUT_S, RunServer, hiding_all_but
from tests.newproject import replace

# As Channels' ProtocolTypeRouter, which is no application of Django's either.
ROUTING = """
from onloop.asgi import get_asgi_application

django = get_asgi_application()


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        await django(scope, receive, send)
        return
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/closed/":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})
"""


def use(project, path):
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write(f"\nASGI_APPLICATION = {path!r}\n")


class WebSocket:
    """A client, with wsproto's events."""

    def __init__(self, server, path):
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)
        self.send(Request(host="127.0.0.1", target=path))

    def send(self, event):
        self.socket.sendall(self.protocol.send(event))

    def next(self):
        while True:
            for event in self.protocol.events():
                return event
            self.protocol.receive_data(self.socket.recv(4096) or None)


@pytest.mark.parametrize("package", [server.package for server in SERVERS])
def test_websockets_go_to_the_application_and_the_rest_is_served_too(project, package):
    (project / "mysite" / "routing.py").write_text(ROUTING)
    use(project, "mysite.routing.application")
    with RunServer(project, "--noreload", HIDDEN=hiding_all_but(package)) as server:
        assert server.get("/where/").text == "bridge"
        assert server.get("/static/admin/css/base.css").status_code == 200

        client = WebSocket(server, "/echo/?a=b")
        assert isinstance(client.next(), AcceptConnection)
        server.wait_for_log("WebSocket CONNECT /echo/?a=b [127.0.0.1:")
        client.send(TextMessage("hello"))
        assert client.next().data == "HELLO"
        client.send(CloseConnection(1000))
        server.wait_for_log("WebSocket DISCONNECT /echo/?a=b [127.0.0.1:")
        client.socket.close()

        refused = WebSocket(server, "/closed/")
        assert isinstance(refused.next(), RejectConnection)
        server.wait_for_log("WebSocket REJECT /closed/ [127.0.0.1:")
        refused.socket.close()
        if package != "daphne":
            assert server.events == ["entered"]


def test_an_open_websocket_holds_up_no_end(project):
    (project / "mysite" / "routing.py").write_text(ROUTING)
    use(project, "mysite.routing.application")
    with RunServer(project) as server:
        server.get("/where/")
        client = WebSocket(server, "/echo/")
        assert isinstance(client.next(), AcceptConnection)
        server.interrupt()
        assert server.wait() == 0
        assert "its threads are left" not in server.log
        client.socket.close()


def test_the_projects_own_asgi_file_is_served(project):
    use(project, "mysite.asgi.application")
    with RunServer(project, "--noreload") as server:
        assert server.get("/where/").text == "bridge"
        assert "Django's own handler" not in server.log


def test_djangos_own_handler_is_served_and_it_says_so(project):
    replace(project / "mysite" / "asgi.py", "onloop.asgi", "django.core.asgi")
    use(project, "mysite.asgi.application")
    with RunServer(project, "--noreload") as server:
        assert server.get("/where-sync/").text != "sync"
        assert "ASGI_APPLICATION is Django's own handler" in server.log


@pytest.mark.parametrize("path", ["mysite.nothing.application", "mysite.asgi.nothing", "x"])
def test_an_application_that_is_not_there_is_an_error_with_the_cure(project, path):
    use(project, path)
    with RunServer(project, "--noreload") as server:
        assert server.wait() == 1
        assert f"ImproperlyConfigured: ASGI_APPLICATION {path!r} could not be" in server.log
        assert "such as 'mysite.asgi.application'" in server.log
