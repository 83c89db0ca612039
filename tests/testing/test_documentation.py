"""The examples of `docs/testing.md`, run as they stand there."""

import asyncio
import re

import pytest
from django.db import transaction
from django.db.utils import DatabaseError

from onloop.testing import Leaked, LeakLedger
from tests.postgres import ROOT
from tests.project.library.models import Author, Book

pytestmark = pytest.mark.usefixtures("db_clean")

PAGE = ROOT / "docs" / "testing.md"
# What the examples use without importing it.
GIVEN = {
    "Author": Author,
    "Book": Book,
    "DatabaseError": DatabaseError,
    "LeakLedger": LeakLedger,
    "Leaked": Leaked,
    "asyncio": asyncio,
    "pytest": pytest,
    "transaction": transaction,
}


def _examples():
    """Return the test functions of the page, with its own line numbers."""
    text = PAGE.read_text()
    found = {}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, block.start(1))
        names = dict(GIVEN)
        exec(compile("\n" * line + block[1], PAGE, "exec"), names)
        found |= {name: thing for name, thing in names.items() if name.startswith("test_")}
    return found


globals().update(_examples())


def test_every_fixture_has_an_example():
    fixtures = {"leak_ledger", "cancel_sweep", "forced_window", "fault_proxy"}
    used = {
        name for test in _examples().values() for name in test.__code__.co_varnames
    } & fixtures
    assert used == fixtures
