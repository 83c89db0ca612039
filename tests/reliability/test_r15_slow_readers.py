"""R15: a slow socket reader is closed within 30 s; the others' p99 is less than twice theirs.

The full form has 50 slow readers among 100 others, the default limit of 20 s, and runs on
uvicorn, Daphne and Hypercorn; the short one has 3 among 5 on uvicorn and a limit of 1 s. Closed
means that the server has let go of the connection, though the client has not. How soon that is,
and the times of the others, are printed, and judged in the full form.
"""

import json

import httpx
import pytest

from tests.db.eventually import eventually
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import FULL, LONG_S, PATIENCE_S, SHORT, size
from tests.reliability.slow_readers import SlowReaders, descriptors
from tests.servers import Serving

# Sockets that ask no database.
pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.timeout(LONG_S)]

LIMIT_S = 20 if FULL else 1
WITHIN_S = PATIENCE_S if SHORT else LIMIT_S + 10
SLOW = size(3, full=50)
FAST = size(5, full=100)
ROUNDS = size(20, full=200)


def serving(server, **limits):
    onloop = {"SOCKET_SEND_TIMEOUT": LIMIT_S, "SOCKET_RATE": 0, **limits}
    return Serving(
        server,
        application="tests.project.asgi_limited:application",
        env=(
            ("ONLOOP_TEST_ONLOOP", json.dumps(onloop)),
            # So that the number of its descriptors does not depend on who leaves when.
            ("ONLOOP_TEST_DATABASE_OPTIONS", json.dumps({"pool": {"max_size": 1}})),
        ),
    )


async def ping(server):
    async with httpx.AsyncClient() as client:
        return (await client.get(server.url + "/ping/", timeout=90)).status_code


async def run(server, databases, within_s=WITHIN_S):
    findings = Findings(f"R15, {server.serving.server}, {SLOW} slow among {FAST}")
    harness = SlowReaders(server, slow=SLOW, fast=FAST, rounds=ROUNDS, within_s=within_s)
    await harness.warm_up()  # its connections to the database are there
    await ping(server)
    await eventually(lambda: "left with" in server.new_log())
    before = descriptors(server)
    await harness.run(findings)
    measured = findings.measured
    if FULL and measured["p99 ms beside slow readers"] > 2 * measured["p99 ms alone"]:
        findings.add("others are slower", measured)
    try:
        await eventually(lambda: descriptors(server) <= before, "descriptors are back")
    except (AssertionError, TimeoutError) as exc:
        findings.add("left behind: descriptors", f"{before}, {descriptors(server)}: {exc}")
    if databases.kind == "postgresql":
        for found in databases.activity(application_name="onloop-server"):
            if found.state != "idle":
                findings.add("left behind: session", found)
    if (status := await ping(server)) != 200:
        findings.add("next work failed", status)
    if "Traceback" in server.new_log():
        findings.add("traceback", server.new_log())
    findings.judge()


SERVERS = ["uvicorn", "daphne", "hypercorn"] if FULL else ["uvicorn"]


@pytest.mark.parametrize(
    "asgi_server",
    [serving(server) for server in SERVERS],
    ids=lambda serving: serving.server,
    indirect=True,
)
async def test_who_does_not_read_is_closed_and_the_others_go_on(asgi_server, db_clean):
    await run(asgi_server, db_clean)


# --- the harness finds what is broken on purpose ----------------------------------------------


@pytest.mark.parametrize(
    "asgi_server", [serving("uvicorn", SOCKET_SEND_TIMEOUT=0)], indirect=True
)
async def test_a_server_without_the_limit_is_found(asgi_server, db_clean):
    with pytest.raises(Found) as found:
        await run(asgi_server, db_clean, within_s=1)
    assert found.value.kinds["slow reader not closed"] == SLOW
