"""R1, for requests: an upload, streams and views of every kind, cancelled at each wait.

Once by the server's `task.cancel()`, at each of a request's waits, once and twice, before and
after what it waits for is there. The rule for a transaction is R1's. This is the full form;
consumers of sockets have theirs in `test_r1_cancel_sweep_of_consumers.py`.
"""

from __future__ import annotations

import pytest
from django.test import override_settings

from onloop.asgi import get_asgi_application
from tests.asgi.client import Exchange
from tests.project.library.models import Author
from tests.reliability import works
from tests.reliability.findings import Findings, judged
from tests.reliability.swept_units import Rule
from tests.reliability.works import Unit

BODY = [b"part " * 20, b"x" * 5000, b"end"]


@pytest.fixture
def swept_request(db_clean, cancel_sweep, tmp_path):
    """`await swept_request("name of a work or view")`: the sweep, with all checks."""

    async def swept(name):
        await Author.objects.abulk_create(Author(name=each) for each in works.FIXED)
        application = get_asgi_application()
        rule = Rule(db_clean, tmp_path)

        def scenario():
            number = len(works.units)
            works.units[number] = Unit(number, name)
            path = f"/work/{number}/" if name in works.WORKS else f"/{name}/{number}/"
            upload = {"method": "POST", "body": BODY} if name == "uploads" else {}
            exchange = Exchange(application, path, **upload)
            return exchange._serve()

        with override_settings(ROOT_URLCONF=works.__name__):
            sweep = cancel_sweep(scenario, prepare=rule.prepare, check=rule.check)
            return await judged(sweep, Findings(f"R1, a request: {name}"))

    return swept


@pytest.mark.parametrize("name", ["commits", "savepoints", "gathers_blocks", *works.VIEWS_ONLY])
async def test_a_request_that_is_cancelled_at_any_of_its_waits(swept_request, name):
    sweep = await swept_request(name)
    assert sweep.runs > 4
