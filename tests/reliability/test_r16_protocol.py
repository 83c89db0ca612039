"""R16: cases of the socket protocol, as Autobahn groups them, through each server: 0 failed.

A client that writes raw bytes plays them to a consumer that echoes. Each case has what RFC 6455
says. Where a server's library does otherwise, that is listed one by one in `protocol_known`,
with the reason, and counted; what is listed and not seen is a finding too. What holds in every
case is Onloop's: the consumer is told the end exactly once, no task, scope, bridge or
connection is left, no traceback is in the log, the next socket works.

The short form sends each case once, in one of three ways (at once, frame by frame, byte by
byte), to four servers; the full one in all three to five, with more cases by chance.
"""

import json

import pytest

from tests.reliability.findings import Findings, Found
from tests.reliability.protocol import frame, stays
from tests.reliability.protocol_cases import all_cases, close, framing
from tests.reliability.protocol_known import Known, known_of
from tests.reliability.protocol_run import Protocol
from tests.reliability.scale import FULL, LONG_S, SEEDS, size
from tests.servers import Serving

# Sockets that ask no database.
pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.timeout(LONG_S)]

APPLICATION = "tests.reliability.protocol_site:application"
LIMITS = {
    "SOCKET_RATE": 0,
    "SOCKET_MAX_PER_ADDRESS": 0,
    # Hypercorn's sockets that were closed here are listened to for so long.
    "SOCKET_CLOSE_TIMEOUT": 1,
    # What the application tells of itself takes its time.
    "STALL_MS": 0,
}
ENV = (("ONLOOP_TEST_ONLOOP", json.dumps(LIMITS)),)


def serving(server, *arguments, application=APPLICATION):
    return Serving(server, application=application, arguments=arguments, env=ENV)


UVICORN = serving("uvicorn")
SERVERS = [
    UVICORN,
    serving("uvicorn", "--ws", "wsproto"),
    *([serving("uvicorn", "--ws", "websockets")] if FULL else []),
    serving("daphne"),
    serving("hypercorn"),
]
PLANTED = serving(
    "uvicorn",
    "--timeout-graceful-shutdown",
    "1",
    application="tests.reliability.protocol_planted:application",
)


def name_of(serving):
    return "-".join([serving.server, *serving.arguments[1:2]])


CASES = all_cases(
    most=2**20, messages=size(50, full=1000), by_chance=size(5, full=200), seeds=list(SEEDS)
)


@pytest.mark.parametrize("asgi_server", SERVERS, ids=name_of, indirect=True)
async def test_each_case_is_answered_as_the_protocol_says(asgi_server, db_clean):
    name = name_of(asgi_server.serving)
    findings = Findings(f"R16, {name}")
    await Protocol(asgi_server, CASES, known_of(name)).run(findings, 3 if FULL else 1)
    if db_clean.kind == "postgresql":
        for found in db_clean.activity(application_name="onloop-server"):
            if found.state != "idle":
                findings.add("left behind: session", found)
    findings.judge()
    assert findings.counts["cases"] == findings.counts["ends told"] >= 300


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.mark.parametrize("asgi_server", [PLANTED], indirect=True)
async def test_consumers_that_are_not_told_the_end_are_found(asgi_server, db_clean):
    findings = Findings("R16, consumers that are not told")
    cases = list(close())[:5]
    harness = Protocol(asgi_server, cases, [], patience_s=1)
    await harness.run(findings, 1)
    with pytest.raises(Found) as found:
        findings.judge()
    assert found.value.kinds["the end is not told"] == len(cases)
    assert found.value.kinds["left behind: tasks"] == 1
    assert found.value.kinds["left behind: sockets"] == 1


@pytest.mark.parametrize("asgi_server", [UVICORN], indirect=True)
async def test_answers_other_than_those_asked_for_are_found(asgi_server, db_clean):
    findings = Findings("R16, other answers")
    cases = [
        *framing(),
        stays("wrong: another text", frame(b"Hello"), answers=[("text", b"Hallo")]),
        stays("wrong: one answer more", frame(b"a"), answers=[("text", b"a")] * 2),
        stays("wrong: a pong for nothing", answers=[("pong", b"")]),
    ]
    of_nothing = Known(("uvicorn",), "framing: *", "closed with 1000", "never seen")
    await Protocol(asgi_server, cases, [of_nothing]).run(findings, 1)
    with pytest.raises(Found) as found:
        findings.judge()
    assert found.value.kinds["not as RFC 6455 says"] == 3 + 3  # three are known of uvicorn
    assert found.value.kinds["known, and not seen"] == 1
