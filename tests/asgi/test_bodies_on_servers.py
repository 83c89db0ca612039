"""Bodies over real sockets: what each server makes of them."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.asgi.test_servers_all import SERVERS, name_of, on_every_server, wait_for
from tests.conftest import HTTP_TIMEOUT_S

PIECE = bytes(range(256)) * 256
# Daphne takes in a whole body before it calls the application.
STREAMING = [serving for serving in SERVERS if serving.server != "daphne"]
on_streaming_servers = pytest.mark.parametrize(
    "asgi_server", STREAMING, ids=name_of, indirect=True
)


def pieces(count: int) -> Iterator[bytes]:
    """Sent in chunks, without a length."""
    for _ in range(count):
        yield PIECE


def told(content: bytes) -> str:
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


@on_every_server
@pytest.mark.parametrize("chunked", [True, False])
def test_a_long_body_comes_whole(http, chunked):
    content = PIECE * 300
    answer = http.post("/desk/digest/", content=pieces(300) if chunked else content)
    assert answer.text == told(content)


@on_every_server
@pytest.mark.parametrize("where", ["upload", "upload-in-thread", "upload-on-loop"])
def test_files_come_whole(http, where):
    short, long = b"short", PIECE * 100
    answer = http.post(f"/desk/{where}/", files={"short": short, "long": long})
    assert answer.json() == {
        "short": [len(short), hashlib.sha256(short).hexdigest()],
        "long": [len(long), hashlib.sha256(long).hexdigest()],
    }


@on_every_server
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_beyond_the_limit_is_413_and_the_next_request_works(http, chunked):
    content = b"x" * 1_000_001
    answer = http.post("/desk/limited/", content=iter([content]) if chunked else content)
    assert answer.status_code == 413
    assert http.post("/desk/limited/", content=content[1:]).text == "1000000"


@on_streaming_servers
def test_an_upload_is_refused_before_it_has_come(asgi_server):
    with socket.create_connection(("127.0.0.1", asgi_server.port), HTTP_TIMEOUT_S) as client:
        client.sendall(
            b"POST /desk/limited/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 10000000000\r\n\r\n" + PIECE
        )
        assert client.recv(12) == b"HTTP/1.1 413"


@on_streaming_servers
def test_a_body_that_stops_is_408(asgi_server):
    with socket.create_connection(("127.0.0.1", asgi_server.port), HTTP_TIMEOUT_S) as client:
        client.sendall(
            b"POST /desk/impatient/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1000000\r\n\r\nhalf"
        )
        assert client.recv(12) == b"HTTP/1.1 408"


@on_streaming_servers
def test_a_client_that_leaves_its_upload_ends_the_view(asgi_server):
    with socket.create_connection(("127.0.0.1", asgi_server.port), HTTP_TIMEOUT_S) as client:
        client.sendall(
            b"POST /desk/upload-until-you-leave/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1000000\r\n\r\nhalf"
        )
        wait_for(lambda: "the upload begins" in asgi_server.new_log())
    wait_for(lambda: "the upload was left" in asgi_server.new_log())


@on_every_server
def test_a_request_behind_one_whose_body_nobody_read_works(asgi_server):
    with httpx.Client(base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S) as client:
        assert client.post("/ping/", content=PIECE * 20).status_code in {200, 403, 405}
        assert client.get("/ping/").status_code == 200
