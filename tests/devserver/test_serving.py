"""What `manage.py runserver` serves, over a real socket, with each of the ASGI servers."""

from __future__ import annotations

import socket

import httpx
import pytest

from onloop.devserver.servers import SERVERS
from tests.devserver.site import RunServer, copy, hiding_all_but
from tests.newproject import replace

STYLE_SHEET = "/static/admin/css/base.css"
PACKAGES = [server.package for server in SERVERS]


@pytest.fixture(scope="module", params=PACKAGES)
def server(request, made, tmp_path_factory):
    """The project on one of the servers, the only one that is installed."""
    folder = copy(made, tmp_path_factory.mktemp("served"))
    with RunServer(folder, "--noreload", HIDDEN=hiding_all_but(request.param)) as server:
        server.package = request.param
        server.get("/where/")
        yield server


def test_an_async_view_runs_in_a_bridge(server):
    assert server.get("/where/").text == "bridge"


def test_a_sync_view_runs_in_a_thread(server):
    assert server.get("/where-sync/").text == "thread"


def test_the_admin_works(server):
    page = server.get("/admin/login/")
    assert (page.status_code, STYLE_SHEET in page.text) == (200, True)


def test_static_files_are_served(server):
    answer = server.get(STYLE_SHEET)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css")
    assert answer.text.startswith("/*")
    assert server.get(STYLE_SHEET, method="HEAD").content == b""


def test_a_static_file_that_has_not_changed_is_304(server):
    answer = server.get(STYLE_SHEET)
    again = httpx.get(
        server.url + STYLE_SHEET,
        headers={"If-Modified-Since": answer.headers["last-modified"]},
    )
    assert again.status_code == 304


def test_a_static_file_that_is_not_there_is_404(server):
    assert server.get("/static/nothing.css").status_code == 404


def test_what_is_not_there_is_djangos_page_with_the_patterns(server):
    answer = server.get("/nowhere/")
    assert (answer.status_code, "where-sync/" in answer.text) == (404, True)


def test_each_request_has_a_line_as_of_djangos_server(server):
    size = len(server.get("/where/?of=lines").content)
    server.wait_for_log(f'] "GET /where/?of=lines HTTP/1.1" 200 {size}\n')
    server.get("/nowhere/?of=lines")
    server.wait_for_log('] "GET /nowhere/?of=lines HTTP/1.1" 404 ')
    server.get("/raises/")
    server.wait_for_log('] "GET /raises/ HTTP/1.1" 500 ')


def test_headers_of_a_proxy_are_not_believed(server):
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    assert httpx.get(f"{server.url}/who/", headers=headers).text == "127.0.0.1 http"


def test_it_says_what_it_is(server):
    log = server.log
    assert f"Starting ASGI development server ({server.package} " in log
    assert f") at {server.url}/\nQuit the server with CONTROL-C.\n" in log
    assert "WARNING: This is a development server." in log
    assert "System check identified no issues" in log


def test_lifespan_has_run(server):
    if server.package == "daphne":
        pytest.skip("Daphne knows no lifespan")
    assert server.events == ["entered"]


# --- options ----------------------------------------------------------------------------------


def test_nostatic(made, tmp_path):
    with RunServer(copy(made, tmp_path), "--noreload", "--nostatic") as server:
        assert server.get(STYLE_SHEET).status_code == 404
        assert server.get("/where/").text == "bridge"


@pytest.mark.parametrize(("options", "status"), [([], 404), (["--insecure"], 200)])
def test_without_debug_static_files_are_served_only_when_insecure(project, options, status):
    settings = project / "mysite" / "settings.py"
    replace(settings, "DEBUG = True", "DEBUG = False")
    replace(settings, "ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["127.0.0.1"]')
    with RunServer(project, "--noreload", *options) as server:
        assert server.get(STYLE_SHEET).status_code == status


def test_without_the_app_there_are_no_static_files(project):
    settings = project / "mysite" / "settings.py"
    replace(settings, "    'django.contrib.staticfiles',\n", "")
    with RunServer(project, "--noreload") as server:
        assert server.get("/where/").text == "bridge"
        assert server.get(STYLE_SHEET).status_code == 404


def test_skip_checks(made, tmp_path):
    with RunServer(copy(made, tmp_path), "--noreload", "--skip-checks") as server:
        assert server.get("/where/").text == "bridge"
        assert "system checks" not in server.log


def test_nothreading_is_accepted(made, tmp_path):
    with RunServer(copy(made, tmp_path), "--noreload", "--nothreading") as server:
        assert server.get("/where-sync/").text == "thread"
        assert "--nothreading has no meaning with an ASGI server." in server.log


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize("package", PACKAGES)
def test_ipv6(made, tmp_path, package):
    folder = copy(made, tmp_path)
    hidden = hiding_all_but(package)
    with RunServer(folder, "--noreload", address="[::1]", HIDDEN=hidden) as server:
        assert server.get("/where/").text == "bridge"
        assert f"at {server.url}/" in server.log


def test_wsgi_is_djangos_own_server(made, tmp_path):
    with RunServer(copy(made, tmp_path), "--noreload", "--wsgi") as server:
        assert server.get("/where-sync/").text == "sync"
        assert server.get(STYLE_SHEET).status_code == 200
        assert "ASGI" not in server.log.replace("WSGI or ASGI server", "")


@pytest.mark.parametrize("options", [["--noreload"], []])
def test_without_an_asgi_server_it_is_djangos_own_and_says_what_to_install(
    made, tmp_path, options
):
    folder = copy(made, tmp_path)
    with RunServer(folder, *options, HIDDEN=hiding_all_but("")) as server:
        assert server.get("/where-sync/").text == "sync"
        assert server.get(STYLE_SHEET).status_code == 200
        assert server.log.count("No ASGI server is installed") == 1
        assert "pip install uvicorn" in server.log


@pytest.mark.parametrize("options", [["--noreload"], []])
def test_a_port_in_use_is_djangos_error(made, tmp_path, options):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with RunServer(copy(made, tmp_path), *options, port=port) as server:
            assert server.wait() == 1
            assert "Error: That port is already in use.\n" in server.log
            assert "Traceback" not in server.log


def test_an_address_of_somebody_else_is_djangos_error(made, tmp_path):
    with RunServer(copy(made, tmp_path), "--noreload", address="192.0.2.1") as server:
        assert server.wait() == 1
        assert "Error: That IP address can't be assigned to.\n" in server.log
