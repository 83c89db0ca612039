"""`docs/metrics.md` says what there is, and its collector works as it stands there."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

import onloop.asgi
import onloop.channels
import onloop.db.pools
import onloop.http
import onloop.tasks.home  # noqa: F401 - so that each part is in the numbers
from onloop import metrics
from tests.postgres import ROOT

TEXT = (ROOT / "docs" / "metrics.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE))


def test_the_table_has_each_part():
    assert set(ROWS) == {"process", "requests", "loop", "pools", "sockets", "tasks", "http"}
    assert set(ROWS) <= set(metrics.read())


@pytest.mark.parametrize("name", ["process", "requests", "loop", "http"])
def test_the_table_has_each_number(name):
    named = set(re.findall(r"`(\w+)`", ROWS[name]))
    assert set(metrics.read()[name]) <= named


def test_the_collector_is_read_by_prometheus():
    code = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)[1]
    page = {}
    exec(compile(code, "docs/metrics.md", "exec"), page)
    (family,) = text_string_to_metric_families(page["text"].decode())
    assert family.samples[0].labels == {"process": metrics.name_of_process()}
    assert family.samples[0].value >= 1
