"""The lines of requests, in process."""

from __future__ import annotations

import asyncio
import logging

import pytest

from onloop.devserver.requestlog import RequestLog


@pytest.fixture
def lines():
    """What is logged: the level, the status for the colour, the text."""
    found = []

    class Lines(logging.Handler):
        def emit(self, record):
            found.append((record.levelname, record.status_code, record.getMessage()))

    logger = logging.getLogger("django.server")
    handler = Lines()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


async def ask(application, **scope):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/p/", "raw_path": b"/p/",
        "query_string": b"", "http_version": "1.1", **scope,
    }  # fmt: skip
    await RequestLog(application)(scope, None, send)
    return sent


def answers(status, *parts):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": status})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    return application


@pytest.mark.parametrize(
    ("status", "level"), [(200, "INFO"), (302, "INFO"), (404, "WARNING"), (503, "ERROR")]
)
async def test_a_line_has_the_level_of_its_status_and_the_size(lines, status, level):
    sent = await ask(answers(status, b"abc", b"de"))
    assert lines == [(level, status, f'"GET /p/ HTTP/1.1" {status} 5')]
    assert len(sent) == 4


async def test_head_has_no_size(lines):
    await ask(answers(200, b"abc"), method="HEAD")
    assert lines[0][2] == '"HEAD /p/ HTTP/1.1" 200 0'


async def test_a_path_looks_as_it_was_sent_and_makes_no_second_line(lines):
    await ask(answers(200), raw_path=b"/%C3%A9/\n[x]", query_string=b"a=%20")
    assert lines[0][2] == '"GET /%C3%A9/\\n[x]?a=%20 HTTP/1.1" 200 0'


async def test_a_server_need_not_tell_the_raw_path(lines):
    await ask(answers(200), path="/é/", raw_path=None)
    assert lines[0][2] == '"GET /%C3%A9/ HTTP/1.1" 200 0'


async def test_an_application_that_raises_is_500(lines):
    async def application(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ask(application)
    assert lines == [("ERROR", 500, '"GET /p/ HTTP/1.1" 500 0')]


async def test_who_left_before_the_answer_has_no_line(lines):
    async def application(scope, receive, send):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await ask(application)
    assert lines == []


async def test_what_was_sent_before_a_cancellation_counts(lines):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await ask(application)
    assert lines == [("INFO", 200, '"GET /p/ HTTP/1.1" 200 3')]
