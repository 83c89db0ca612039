"""The example's operations page: real servers, over real Redis where there are two."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection

from tests.redis import RedisServer
from tests.servers import AsgiServer
from tests.workspace.conftest import Starting
from tests.workspace.members import DEADLINE_S, Member, member
from tests.workspace.upstreams import Services

Board = dict[str, Any]
REQUESTS = 20


class Look:
    """The page's socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def next(self) -> Board:
        return dict(json.loads(await self._connection.recv()))

    async def until(self, is_it: Callable[[Board], Any]) -> Board:
        """The first board of which `is_it` is true."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_it(board := await self.next()):
                pass
        return board


@asynccontextmanager
async def look(somebody: Member) -> AsyncIterator[Look]:
    async with somebody.connect("/operations/") as connection:
        yield Look(connection)


def names(board: Board) -> set[str]:
    return {process["name"] for process in board["processes"] if not process["silent"]}


def silent(board: Board) -> set[str]:
    return {process["name"] for process in board["processes"] if process["silent"]}


def number(board: Board, label: str) -> int:
    """What the table says of the only process."""
    (cell,) = next(row[1:] for row in board["tables"]["numbers"] if row[0] == label)
    return int(cell.replace(",", ""))


def has_pid(name: str, server: AsgiServer) -> bool:
    return name.endswith(f":{server.pid}")


def two(first: AsgiServer, second: AsgiServer) -> Callable[[Board], bool]:
    def shown(board: Board) -> bool:
        return all(
            any(has_pid(name, server) for name in names(board)) for server in (first, second)
        )

    return shown


async def scraped(client: httpx.AsyncClient) -> dict[str, float]:
    """`/metrics`, by name and its own labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if key != "process"}
            found[sample.name + "".join(sorted(labels.values()))] = sample.value
    return found


@pytest.fixture
def serve(starting: Starting, services: Services) -> Starting:
    """Starts a server; what its panels show is here, and not in the server."""
    return partial(starting, **services.environment())


@pytest.fixture
def asgi_server(serve: Starting) -> AsgiServer:
    return serve()


@pytest.fixture
async def demo(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "demo") as somebody:
        yield somebody


async def test_numbers_move_with_requests(demo: Member) -> None:
    before = await scraped(demo.client)
    for _ in range(REQUESTS):
        assert (await demo.client.get("/")).status_code == 200
    assert (await demo.client.get("/catalogue/products/0/")).status_code == 404
    after = await scraped(demo.client)
    moved = {name: after[name] - before[name] for name in before if name in after}
    assert moved["onloop_requests_total2xx"] == REQUESTS + 1  # and the first scrape
    assert moved["onloop_requests_total4xx"] == 1
    assert moved["onloop_requests_total5xx"] == 0
    assert moved["onloop_request_duration_seconds_count"] == REQUESTS + 2
    assert moved["onloop_pool_borrowed_totaldefault"] >= REQUESTS
    assert after["process_resident_memory_bytes"] > 0
    assert after["onloop_sockets_open"] == 0
    async with look(demo) as page:
        board = await page.next()
        assert number(board, "Answered so far") >= after["onloop_requests_total2xx"]
        assert number(board, "Sockets") == 1
        assert board["tables"]["jobs"][0][0] == "Running"
        assert (await scraped(demo.client))["onloop_sockets_open"] == 1


async def test_members_see_neither_page_nor_socket_nor_metrics(asgi_server: AsgiServer) -> None:
    async with member(asgi_server, "robin") as robin:
        assert (await robin.client.get("/operations/")).status_code == 403
        assert (await robin.client.get("/metrics")).status_code == 403
        with pytest.raises(Exception, match="403"):
            async with look(robin):
                pass


async def test_a_stall_is_shown_with_what_held_the_loop(serve: Starting) -> None:
    server = serve(DJANGO_SETTINGS_MODULE="tests.workspace.stalling")
    async with member(server, "demo") as demo, look(demo) as page:
        await demo.client.get("/hold-the-loop/")

        def rows(board: Board) -> list[list[str]]:
            return [row for row in board["tables"]["stalls"] if "hold_the_loop" in row[2]]

        board = await page.until(rows)
        (row,) = rows(board)
        assert "stalling_urls.py" in row[2]
        assert row[3].startswith("time.sleep(HOLDS_S)")
        assert row[4] == "GET /hold-the-loop/"
        assert board["troubles"]
        assert "hold_the_loop" in (await demo.client.get("/operations/")).text


async def test_two_processes_are_on_one_page_and_one_that_is_killed_leaves_it(
    serve: Starting, redis_server: RedisServer
) -> None:
    first = serve(REDIS_URL=redis_server.url)
    second = serve(REDIS_URL=redis_server.url)
    async with member(first, "demo") as demo, look(demo) as page:
        await page.until(two(first, second))
        # Somebody at the other one sees the same, and a page is whole when it is loaded.
        async with member(second, "demo") as there:
            text = (await there.client.get("/operations/")).text
            assert f":{first.pid}</th>" in text
            assert f":{second.pid}</th>" in text
            async with look(there) as other:
                await other.until(two(first, second))
        second.process.send_signal(signal.SIGSTOP)  # it says nothing, and cannot take leave
        board = await page.until(silent)
        assert any(has_pid(name, second) for name in silent(board))
        assert any("has said nothing" in trouble for trouble in board["troubles"])
        second.process.send_signal(signal.SIGCONT)
        await page.until(two(first, second))
        third = serve(REDIS_URL=redis_server.url)
        board = await page.until(two(first, third))
        assert len(board["charts"][0]["lines"]) == 3


async def test_a_layer_that_is_away_hides_the_others_and_nothing_else(
    serve: Starting, redis_server: RedisServer
) -> None:
    first = serve(REDIS_URL=redis_server.url)
    second = serve(REDIS_URL=redis_server.url)
    async with member(first, "demo") as demo, look(demo) as page:
        await page.until(two(first, second))
        redis_server.stop()
        board = await page.until(silent)
        assert any(has_pid(name, first) for name in names(board))
        assert (await demo.client.get("/operations/")).status_code == 200
        redis_server.start()
        await page.until(two(first, second))
