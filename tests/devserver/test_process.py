"""How `manage.py runserver` is started again, and how it ends."""

from __future__ import annotations

import signal
import socket

import pytest

from onloop.devserver.servers import SERVERS
from tests.devserver.site import RunServer, hiding_all_but
from tests.newproject import replace

PACKAGES = [server.package for server in SERVERS]
RELOADING = pytest.mark.parametrize("options", [[], ["--noreload"]], ids=["reload", "noreload"])


def wait_for_the_word(server, word):
    server.wait_for(lambda: server.get("/word/").text == word, f"the word {word!r}")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_change_of_a_file_starts_it_again(project, package):
    with RunServer(project, HIDDEN=hiding_all_but(package)) as server:
        assert server.get("/word/").text == "first"
        server.change("words.py", "first", "second")
        wait_for_the_word(server, "second")
        assert "words.py changed, reloading." in server.log
        if package != "daphne":  # which knows no lifespan
            assert server.events == ["entered", "left", "entered"]
        server.interrupt()
        assert server.wait() == 0
        assert "Traceback" not in server.log
        assert server.events[3:] == ([] if package == "daphne" else ["left"])


@pytest.mark.parametrize("package", PACKAGES)
@RELOADING
def test_ctrl_c_ends_it(project, package, options):
    with RunServer(project, *options, HIDDEN=hiding_all_but(package)) as server:
        assert server.get("/where/").text == "bridge"
        server.interrupt()
        assert server.wait() == 0
        assert "Traceback" not in server.log
        assert server.events == ([] if package == "daphne" else ["entered", "left"])


@RELOADING
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_first_process_alone_ends_it(project, options, number):
    with RunServer(project, *options) as server:
        assert server.get("/where/").text == "bridge"
        server.process.send_signal(number)
        assert server.wait() == 0
        assert "Traceback" not in server.log
        assert server.events == ["entered", "left"]


@RELOADING
def test_a_view_that_does_not_end_holds_up_no_end(project, options):
    with RunServer(project, *options) as server, server.client() as client:
        client.ask("/stuck/")
        server.wait_for_log("stuck now")
        server.interrupt()
        assert server.wait() == 0
        assert "its threads are left" in server.log


def test_a_view_that_does_not_end_holds_up_no_reload(project):
    with RunServer(project) as server, server.client() as client:
        client.ask("/stuck/")
        server.wait_for_log("stuck now")
        server.change("words.py", "first", "second")
        wait_for_the_word(server, "second")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stream_that_does_not_end_holds_up_no_end(project, package):
    with (
        RunServer(project, HIDDEN=hiding_all_but(package)) as server,
        server.client() as client,
    ):
        client.ask("/stream/")
        server.wait_for_log("streaming now")
        server.interrupt()
        assert server.wait() == 0
        assert "its threads are left" not in server.log
        assert server.events == ([] if package == "daphne" else ["entered", "left"])


UNDER_WAY = """
from pathlib import Path

from onloop.devserver import listener, servers

servers.GRACE_S = listener.END_TIMEOUT_S = 600


async def under_way(request):
    print("under way now", flush=True)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return HttpResponse("whole answer")


urlpatterns.append(path("under-way/", under_way))
"""


def refuses(server):
    try:
        socket.create_connection(("127.0.0.1", server.port)).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("package", PACKAGES)
def test_a_request_under_way_has_time_to_end(project, package):
    with (project / "mysite" / "urls.py").open("a") as urls:
        urls.write(UNDER_WAY)
    with (
        RunServer(project, "--noreload", HIDDEN=hiding_all_but(package)) as server,
        server.client() as client,
    ):
        client.ask("/under-way/")
        server.wait_for_log("under way now")
        server.interrupt()
        server.wait_for(lambda: refuses(server), "its end")
        (project / "go").touch()
        answer = b""
        while not answer.endswith(b"whole answer") and (more := client.socket.recv(4096)):
            answer += more
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"whole answer")
        assert server.wait() == 0


LEFT_SLOWLY = """
import asyncio
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def noted():
    yield
    print("leaving", flush=True)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    print("left", flush=True)
"""


def test_sigterm_after_ctrl_c_does_not_cut_the_end_short(project):
    (project / "mysite" / "hooks.py").write_text(LEFT_SLOWLY)
    with RunServer(project, "--noreload") as server:
        server.get("/where/")
        server.interrupt()
        server.wait_for_log("leaving")
        server.process.terminate()
        (project / "go").touch()
        assert server.wait() == 0
        assert "\nleft\n" in server.log


NEVER_LEFT = """
import asyncio
from contextlib import asynccontextmanager

from onloop.devserver import listener

listener.END_TIMEOUT_S = 600


@asynccontextmanager
async def noted():
    yield
    print("leaving", flush=True)
    await asyncio.Event().wait()
"""


@RELOADING
def test_a_second_ctrl_c_ends_it_at_once(project, options):
    (project / "mysite" / "hooks.py").write_text(NEVER_LEFT)
    with RunServer(project, *options) as server:
        server.get("/where/")
        server.interrupt()
        server.wait_for_log("leaving")
        server.interrupt()
        assert server.wait() == 0


@pytest.mark.parametrize("package", ["uvicorn", "hypercorn"])
def test_a_start_up_that_fails_ends_it_and_says_why(project, package):
    replace(project / "mysite" / "hooks.py", "    yield\n", "    1 / 0\n    yield\n")
    with RunServer(project, "--noreload", HIDDEN=hiding_all_but(package)) as server:
        assert server.wait() == 1
        assert "The startup of the project failed." in server.log
        assert f"{package} has ended by itself" in server.log


@pytest.mark.parametrize("package", ["uvicorn", "hypercorn"])
def test_a_start_up_that_failed_is_tried_again_when_it_is_mended(project, package):
    hooks = project / "mysite" / "hooks.py"
    replace(hooks, "    yield\n", "    1 / 0\n    yield\n")
    with RunServer(project, HIDDEN=hiding_all_but(package)) as server:
        server.wait_for_log("It is started again when a file changes.")
        server.change("hooks.py", "    1 / 0\n", "")
        assert server.get("/where/").text == "bridge"
        server.interrupt()
        assert server.wait() == 0


def test_a_project_that_cannot_be_imported_is_served_when_it_is_mended(project):
    words = project / "mysite" / "words.py"
    words.write_text("WORD = \n")
    with RunServer(project) as server:
        server.wait_for_log("SyntaxError")
        server.change("words.py", "WORD = ", 'WORD = "mended"')
        assert server.get("/word/").text == "mended"
        assert "Starting ASGI development server" in server.log


def test_settings_that_cannot_be_imported_are_djangos_error(project):
    replace(project / "mysite" / "settings.py", '    "onloop",', '    "onloop", "nothing",')
    with RunServer(project) as server:
        server.wait_for_log("No module named 'nothing'")
        server.change("settings.py", ' "nothing",', "")
        assert server.get("/where/").text == "bridge"
