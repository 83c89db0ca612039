"""``manage.py test``: who may look, what is shown of samples, what Prometheus reads."""

import asyncio
import copy
import time
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import SimpleTestCase, TestCase, override_settings
from prometheus_client.parser import text_string_to_metric_families

from notices.models import Notice
from onloop import http, watchdog
from onloop.tokens.models import Token
from operations import board, consumers, prometheus, samples
from operations.station import Station, Viewer
from panels import alerts, upstreams
from panels import services as panel_services
from workspace.asgi import application

TIMEOUT_S = 90


class AccessTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.member, cls.staff = create("member"), create("staff", is_staff=True)

    async def socket(self, user: Any = None) -> WebsocketCommunicator:
        headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
        if user is not None:
            await self.async_client.aforce_login(user)
            session = self.async_client.cookies["sessionid"].value
            headers.append((b"cookie", f"sessionid={session}".encode()))
        return WebsocketCommunicator(application, "/operations/", headers)

    async def test_the_page_is_for_the_staff(self) -> None:
        answer = await self.async_client.get("/operations/")
        assert answer.status_code == 302
        assert "/accounts/login/" in answer["Location"]
        await self.async_client.aforce_login(self.member)
        assert (await self.async_client.get("/operations/")).status_code == 403
        assert b"/operations/" not in (await self.async_client.get("/panels/")).content
        await self.async_client.aforce_login(self.staff)
        page = await self.async_client.get("/operations/")
        assert page.status_code == 200
        assert "default-src 'self'" in page["Content-Security-Policy"]
        text = page.content.decode()
        for label, _ in board.ROWS:
            assert f'<th scope="row">{label}</th>' in text
        assert 'id="board"' in text

    async def test_the_socket_is_for_the_staff(self) -> None:
        for user in (None, self.member):
            socket = await self.socket(user)
            accepted, code = await socket.connect(TIMEOUT_S)
            assert (accepted, code) == (False, 4403)
        socket = await self.socket(self.staff)
        accepted, _ = await socket.connect(TIMEOUT_S)
        assert accepted
        shown = await socket.receive_json_from(TIMEOUT_S)
        assert shown["type"] == "board"
        assert len(shown["processes"]) == 1
        await socket.disconnect()

    @mock.patch("operations.station.ASK_EVERY_S", 0.02)
    async def test_who_is_staff_no_more_is_sent_away(self) -> None:
        socket = await self.socket(self.staff)
        with mock.patch.object(consumers.OperationsConsumer, "ask_again_after", 2):
            await socket.connect(TIMEOUT_S)
            await socket.receive_json_from(TIMEOUT_S)
            await get_user_model().objects.filter(pk=self.staff.pk).aupdate(is_staff=False)
            while (frame := await socket.receive_output(TIMEOUT_S))["type"] == "websocket.send":
                pass
        assert (frame["type"], frame["code"]) == ("websocket.close", 4403)
        await socket.disconnect(timeout=TIMEOUT_S)

    async def test_metrics_want_the_token_of_a_staff_account(self) -> None:
        answer = await self.async_client.get("/metrics")
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer ")
        for user, status in ((self.member, 403), (self.staff, 200)):
            _, token = await Token.aissue(user, name="prometheus")
            answer = await self.async_client.get(
                "/metrics", headers={"authorization": f"Bearer {token}"}
            )
            assert answer.status_code == status
        await self.async_client.aforce_login(self.staff)
        assert (await self.async_client.get("/metrics")).status_code == 200
        assert (await self.async_client.post("/metrics")).status_code == 405


class MetricsTests(SimpleTestCase):
    def test_prometheus_reads_them(self) -> None:
        body, media_type = prometheus.exposition()
        assert media_type.startswith("text/plain")
        families = {f.name: f for f in text_string_to_metric_families(body.decode())}
        assert families["onloop_requests"].type == "counter"
        assert families["onloop_threads"].samples[0].value >= 1
        times = families["onloop_request_duration_seconds"]
        buckets = [s.value for s in times.samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        (total,) = [s.value for s in times.samples if s.name.endswith("_count")]
        assert buckets[-1] == total
        name = samples.take()["process"]["name"]
        assert all(
            s.labels["process"] == name
            for f in families.values()
            if f.name.startswith("onloop_")
            for s in f.samples
        )


class BoardTests(SimpleTestCase):
    def sample(self, name: str = "web:1", count: int = 0, clock: float = 0.0) -> Any:
        sample = copy.deepcopy(samples.take())
        sample["process"] |= {"name": name, "clock": clock}
        sample["requests"]["times"]["count"] = count
        sample["loop"]["recent"] = []
        return sample

    def shown(self, view: Any, label: str) -> list[str]:
        return next(row[1:] for row in view["tables"]["numbers"] if row[0] == label)

    def test_requests_a_second_are_counted_by_the_clock_of_their_process(self) -> None:
        shown = board.Board()
        shown.hear(self.sample(count=100, clock=50.0), now=1000.0)
        shown.hear(self.sample(count=130, clock=60.0), now=1001.0)
        shown.hear(self.sample("web:2", count=7, clock=1.0), now=1001.0)
        shown.hear(self.sample("web:2", count=7, clock=2.0), now=1002.0)
        view = shown.view(now=1002.0)
        assert [process["name"] for process in view["processes"]] == ["web:1", "web:2"]
        assert self.shown(view, "Requests a second") == ["3.0", "0.0"]
        rate = next(chart for chart in view["charts"] if chart["key"] == "rate")
        assert rate["now"] == "3.0"
        assert [line["name"] for line in rate["lines"]] == ["web:1", "web:2"]
        assert rate["lines"][0]["points"][-1] == [1.0, 3.0]

    def test_a_process_that_has_begun_anew_counts_anew(self) -> None:
        shown = board.Board()
        shown.hear(self.sample(count=100, clock=50.0), now=1000.0)
        again = self.sample(count=2, clock=51.0)
        again["requests"]["times"]["recent"]["per_s"] = 0.5
        shown.hear(again, now=1001.0)
        assert self.shown(shown.view(now=1001.0), "Requests a second") == ["0.5"]

    def test_who_says_nothing_is_silent_and_then_gone(self) -> None:
        shown = board.Board()
        shown.hear(self.sample("web:1"), now=1000.0)
        shown.hear(self.sample("web:2"), now=1000.0 + board.SILENT_S)
        assert not shown.view(now=1000.0 + board.SILENT_S)["troubles"]
        view = shown.view(now=1001.0 + board.SILENT_S)
        assert [process["silent"] for process in view["processes"]] == [True, False]
        assert view["troubles"] == ["web:1 has said nothing for 8 s: it may be gone."]
        assert view["summary"].startswith("1 process:")
        threads = next(chart for chart in view["charts"] if chart["key"] == "threads")
        assert threads["now"] == self.shown(view, "Threads")[1]  # of the one that is heard of
        view = shown.view(now=1001.0 + board.GONE_S)
        assert [process["name"] for process in view["processes"]] == ["web:2"]

    def test_lines_are_two_minutes_long_and_lead_over_no_gap(self) -> None:
        shown = board.Board()
        for second in range(0, 300, 2):
            shown.hear(self.sample(clock=float(second)), now=1000.0 + second)
        (line,) = shown.view(now=1298.0)["charts"][0]["lines"]
        assert len(line["points"]) == 61
        shown.hear(self.sample(clock=400.0), now=1310.0)
        (line,) = shown.view(now=1310.0)["charts"][0]["lines"]
        assert len(line["points"]) == 1

    def test_nothing_is_known_of_nobody(self) -> None:
        view = board.Board().view()
        assert view["summary"] == "No process has been heard of yet."
        assert view["processes"] == view["troubles"] == []

    def test_what_held_a_loop_is_named(self) -> None:
        async def main() -> Any:
            with watchdog.serving(lambda frames: ("GET /slow/", "")):
                await asyncio.sleep(0)
                hold_the_loop()
                async with asyncio.timeout(TIMEOUT_S):
                    while not self.stalls():  # noqa: ASYNC110 - a thread notes it
                        await asyncio.sleep(0.01)
            shown = board.Board()
            shown.hear(samples.take())
            return shown.view()

        view = asyncio.run(main())
        row = next(row for row in view["tables"]["stalls"] if "hold_the_loop" in row[2])
        assert "operations/tests.py" in row[2]
        assert row[4] == "GET /slow/"
        assert any("the event loop was held" in trouble for trouble in view["troubles"])

    def stalls(self) -> list[Any]:
        stalls = watchdog.recent_stalls()
        return [stall for stall in stalls if stall.culprit.function == "hold_the_loop"]


def hold_the_loop() -> None:
    time.sleep(0.6)


class StationTests(TestCase):
    @mock.patch.multiple("operations.station", ASK_EVERY_S=3600, NOT_AGAIN_S=3600)
    async def test_however_many_look_one_sample_is_taken(self) -> None:
        station = Station()
        viewers = [Viewer() for _ in range(5)]
        for viewer in viewers:
            station.watch(viewer)
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(viewer.get() for viewer in viewers))
            assert station.samples == 1
            await station._ask_once()  # too soon: all are told, and nothing is read again
            await asyncio.gather(*(viewer.get() for viewer in viewers))
        assert station.samples == 1
        for viewer in viewers:
            station.unwatch(viewer)
            station.unwatch(viewer)  # twice does no harm
        assert station._asking is None
        assert station._listening is None

    async def test_two_that_ask_hear_each_other_and_answer_once(self) -> None:
        first, second = Station(), Station()
        second.enter()
        await asyncio.sleep(0)
        viewer = Viewer()
        async with asyncio.timeout(TIMEOUT_S):
            while not second.samples:
                await first.look()
        first.watch(viewer)
        second.watch(viewer_of_second := Viewer())
        async with asyncio.timeout(TIMEOUT_S):
            await viewer.get()
            await viewer_of_second.get()
        # Asked by itself, and by the other: once in any interval.
        assert second.samples <= 2
        first.unwatch(viewer)
        second.unwatch(viewer_of_second)
        second.leave()


@asynccontextmanager
async def failing_service() -> Any:
    """A service whose answer is always 500; how to reach it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/news"


class OutageTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        users = get_user_model().objects
        cls.owner = users.create_superuser("owner")
        cls.member = users.create_user("member")

    def setUp(self) -> None:
        alerts._told.clear()
        cache.clear()

    async def test_owners_are_told_once_when_a_service_is_left_alone(self) -> None:
        async with failing_service() as address:
            panels = {"weather": None, "rates": None, "news": address}
            limits = {"RETRIES": 0, "CIRCUIT_FAILURES": 2}
            with override_settings(PANELS=panels, ONLOOP={"HTTP": limits}):
                await self.look()
                assert self.states()["news"] == "failing"
                assert not await Notice.objects.aexists()
                for _ in range(3):
                    await self.look()
                assert self.states()["news"] == "left alone"
                notice = await Notice.objects.aget()
                assert (notice.user_id, notice.kind) == (self.owner.pk, "panel")
                assert notice.path == "/panels/"
                # Another process finds the same: who has not read of it is not told again.
                alerts._told.clear()
                await self.look()
                assert await Notice.objects.acount() == 1
                await http.aclose()

    async def look(self) -> None:
        await panel_services.board()
        await alerts.tell_of_outages()

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in upstreams.health()}
