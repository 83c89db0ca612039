"""What is sent again, when, and what never is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from onloop import http
from onloop.http import retries
from onloop.http.retries import retry_after_s
from tests.db.eventually import eventually
from tests.postgres import free_port

pytestmark = pytest.mark.usefixtures("closing", "configure")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_idempotent_requests_are_sent_again(upstream, method, status):
    response = await http.client().request(method, f"{upstream.url}/flaky/a/2/{status}")
    assert (response.status_code, len(upstream.requests)) == (200, 3)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_others_are_not_unless_asked(upstream, method):
    url = f"{upstream.url}/flaky/a/2/503"
    response = await http.client().request(method, url)
    assert (response.status_code, response.text) == (503, "not yet")
    response = await http.client().request(
        method, url, content=b"x", extensions=http.options(retry=True)
    )
    assert (response.status_code, len(upstream.requests)) == (200, 3)
    assert [seen.body for seen in upstream.requests[1:]] == [b"x", b"x"]


async def test_a_request_may_ask_not_to_be_sent_again(upstream):
    response = await http.client().get(
        f"{upstream.url}/flaky/a/2/503", extensions=http.options(retry=False)
    )
    assert (response.status_code, len(upstream.requests)) == (503, 1)


@pytest.mark.parametrize("status", [400, 404, 500, 501])
async def test_other_answers_are_final(upstream, status):
    response = await http.client().get(f"{upstream.url}/status/{status}")
    assert (response.status_code, len(upstream.requests)) == (status, 1)


async def test_the_last_answer_is_returned_when_attempts_are_used_up(upstream, configure):
    configure(RETRIES=3)
    response = await http.client().get(f"{upstream.url}/status/503")
    assert (response.status_code, response.text) == (503, "as asked")
    assert len(upstream.requests) == 4


async def test_a_connection_that_breaks_is_tried_again(upstream, configure):
    configure(RETRIES=2)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.client().get(f"{upstream.url}/drop")
    assert len(upstream.requests) == 3
    with pytest.raises(httpx.RemoteProtocolError):
        await http.client().post(f"{upstream.url}/drop")
    assert len(upstream.requests) == 4


async def test_a_body_that_breaks_is_not(upstream):
    with pytest.raises(httpx.RemoteProtocolError):
        await http.client().get(f"{upstream.url}/cut")
    assert len(upstream.requests) == 1


async def test_a_post_that_was_never_sent_is_sent_again(upstream, configure):
    """Nobody listens: no attempt can have reached anybody."""
    configure(RETRIES=2, CIRCUIT_FAILURES=3, CIRCUIT_RESET=600)
    url = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(httpx.ConnectError):
        await http.client().post(url, content=b"x")
    # Three failures, so three attempts were made.
    with pytest.raises(http.CircuitOpen, match="failed 3 times"):
        await http.client().post(url, content=b"x")


async def test_a_stream_that_was_read_is_never_sent_again(upstream):
    async def pieces():
        yield b"once"

    for method in ("PUT", "POST"):
        response = await http.client().request(
            method,
            f"{upstream.url}/flaky/{method}/2/503",
            content=pieces(),
            extensions=http.options(retry=True),
        )
        assert response.status_code == 503
    assert [seen.body for seen in upstream.requests] == [b"once", b"once"]


async def test_short_answers_that_are_thrown_away_keep_their_connection(upstream, monkeypatch):
    monkeypatch.setattr(retries, "READ_ON_S", 60)
    await http.client().get(f"{upstream.url}/flaky/a/2/503")
    assert (upstream.accepted, len(upstream.requests)) == (1, 3)


@pytest.mark.parametrize("path", ["endless", "stuck", "cut"])
async def test_others_are_closed(upstream, path, monkeypatch):
    if path == "endless":  # its size alone is enough
        monkeypatch.setattr(retries, "READ_ON_S", 60)
    response = await http.client().get(f"{upstream.url}/flaky-{path}/a")
    assert (response.text, upstream.accepted) == ("ok", 2)
    await eventually(lambda: upstream.connections == 1)


# --- when -----------------------------------------------------------------------------------


async def test_retry_after_is_waited_for(upstream):
    response = await http.client().get(f"{upstream.url}/flaky/a/1/429?after=1")
    assert response.status_code == 200
    first, second = upstream.requests
    assert second.at - first.at >= 1


async def test_a_date_is_waited_for_too(upstream):
    began = time.monotonic()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    response = await http.client().get(f"{upstream.url}/flaky/a/1/503", params={"after": date})
    assert response.status_code == 200
    assert upstream.requests[1].at - began >= 1  # a date has whole seconds


async def test_a_zone_that_is_none_asks_for_nothing_and_costs_no_place(upstream):
    date = {"after": "Wed, 21 Oct 2015 07:28:00 +9999999999999999"}
    response = await http.client().get(f"{upstream.url}/flaky/a/1/503", params=date)
    assert response.status_code == 200
    assert http.stats()["under_way"] == 0


async def test_who_asks_for_too_long_a_wait_is_not_asked_again(upstream, configure):
    configure(RETRY_AFTER_MAX=5)
    response = await http.client().get(f"{upstream.url}/flaky/a/1/429?after=6")
    assert (response.status_code, response.headers["retry-after"]) == (429, "6")
    assert len(upstream.requests) == 1


async def test_an_attempt_for_which_there_is_no_time_is_not_waited_for(upstream, configure):
    configure(DEADLINE=50, RETRY_AFTER_MAX=120)
    response = await http.client().get(f"{upstream.url}/flaky/a/1/429?after=100")
    assert (response.status_code, response.text) == (429, "not yet")


async def test_attempts_share_one_deadline(upstream, configure):
    configure(DEADLINE=0.3, READ_TIMEOUT=0.2, RETRIES=5)
    # The time-out of an attempt, if it is over when the deadline is.
    with pytest.raises((http.DeadlineExceeded, httpx.ReadTimeout)):
        await http.client().get(f"{upstream.url}/hang")
    assert len(upstream.requests) < 6


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("9" * 5000, float("9" * 20)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999999", None),
    ],
)
def test_what_retry_after_may_say(value, seconds):
    assert retry_after_s(value) == seconds
