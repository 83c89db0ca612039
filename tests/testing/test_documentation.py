"""The examples of `docs/testing.md`, run as they stand there.

Those that are whole modules, with imports, are a project's: they run in a project of their own,
in a pytest with pytest-django. The others are functions, which run here.
"""

import asyncio
import re

import pytest
from django.db import transaction
from django.db.utils import DatabaseError

from onloop.testing import Leaked, LeakLedger
from tests.postgres import ROOT
from tests.project.library.models import Author, Book
from tests.testing.users.bookshop import assert_clean

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


def _blocks(language):
    """Return the page's blocks in a language, with empty lines for what is above them."""
    text = PAGE.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in found]


def _is_module(code):
    return code.lstrip().startswith(("import ", "from "))


def _examples():
    """Return the test functions of the page that are no module's."""
    found = {}
    for code in _blocks("python"):
        if not _is_module(code):
            names = dict(GIVEN)
            exec(compile(code, PAGE, "exec"), names)
            found |= {name: thing for name, thing in names.items() if name.startswith("test_")}
    return found


globals().update(_examples())


def _tests_in(modules):
    return sum(
        len(re.findall(r"^ *(?:async )?def test_", code, re.MULTILINE)) for code in modules
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("runner", ["asyncio", "anyio"])
def test_the_modules_of_the_page_pass(bookshop, runner):
    modules = [
        code
        for code in _blocks("python")
        if _is_module(code) and ("mark.anyio" in code) == (runner == "anyio")
    ]
    for number, code in enumerate(modules):
        (bookshop.folder / f"test_page_{number}.py").write_text(code)
    if runner == "asyncio":
        (configuration,) = _blocks("ini")
        (bookshop.folder / "pytest.ini").write_text(configuration)
        arguments = ["-p", "no:anyio", "-c", str(bookshop.folder / "pytest.ini")]
    else:
        arguments = ["-p", "no:asyncio"]
    ran = bookshop.pytest(*arguments, BOOKSHOP_RUNNER=runner)
    assert_clean(ran, {"passed": _tests_in(modules)}, bookshop)


def test_every_fixture_has_an_example():
    fixtures = {"leak_ledger", "cancel_sweep", "forced_window", "fault_proxy"}
    used = {
        name for test in _examples().values() for name in test.__code__.co_varnames
    } & fixtures
    assert used == fixtures
