"""The API of the example service keeps what its document promises, whatever is sent.

Requests are made up from the document by Schemathesis, the same ones in each run, as an owner,
as a guest, and as nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import openapi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.database import TestDatabases
from tests.servers import AsgiServer, Serving, start
from tests.workspace.conftest import HTTP_TIMEOUT_S, seeded
from tests.workspace.tokens import issue

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OFTEN = settings(
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def env(database: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What others count on is not changed by chance: a database of its own."""
    return seeded(database, "workspace_schema", tmp_path_factory)


@pytest.fixture(scope="module")
def server(
    env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AsgiServer]:
    serving = Serving(
        application="workspace.asgi:application",
        env=tuple(env.items()),
        arguments=("--timeout-keep-alive", "120"),
    )
    running = start(serving, tmp_path_factory.mktemp("schema-server"))
    try:
        yield running
    finally:
        running.stop()
    assert "Traceback" not in running.log_text(), running.log_text()[-5000:]


def known_ids(client: httpx.Client, path: str) -> dict[str, Any]:
    """For the parameters of an operation's path: the first of the list that it is about."""
    parts = path.split("{")
    if len(parts) == 1 or parts[0] == "/api/basket/lines/":
        return {}
    rows = client.get(parts[0]).json().get("results", [])
    name = parts[1].partition("}")[0]
    return {name: rows[0][name]} if rows else {}


@pytest.mark.parametrize("username", ["demo", "guest", None])
def test_whatever_is_sent_is_answered_as_the_document_says(
    server: AsgiServer, env: dict[str, str], username: str | None
) -> None:
    headers = {"Authorization": f"Bearer {issue(env, username)}"} if username else {}
    with (
        httpx.Client(base_url=server.url, headers=headers, timeout=HTTP_TIMEOUT_S) as client,
        requests.Session() as session,
    ):
        session.headers.update(headers)
        wrong = play(client, session)
    assert not wrong, "\n\n".join(wrong)


def play(client: httpx.Client, session: requests.Session) -> list[str]:
    """What was answered otherwise than the document says."""
    schema = openapi.from_dict(client.get("/api/schema/").json())
    schema.config.update(base_url=str(client.base_url))
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 50
    wrong = []
    for operation in operations:
        try:
            play_one(operation, known_ids(client, operation.path), session)
        except BaseExceptionGroup as group:
            wrong += [f"{operation.label}: {error}" for error in group.exceptions]
        except AssertionError as error:
            wrong.append(f"{operation.label}: {error}")
    return wrong


def play_one(operation: Any, known: dict[str, Any], session: requests.Session) -> None:
    @OFTEN
    @given(case=operation.as_strategy(), is_known=strategies.booleans())
    def send(case: Any, is_known: bool) -> None:
        if is_known:
            case.path_parameters.update(known)
        case.call_and_validate(session=session, checks=CHECKS, timeout=HTTP_TIMEOUT_S)

    send()
