"""pytest with pytest-django, and pytest-asyncio or anyio's plugin for async tests."""

from __future__ import annotations

import pytest

from tests.testing.users.bookshop import Bookshop, assert_clean

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

PLUGINS = {
    "asyncio": ("-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function"),
    "anyio": ("-p", "no:asyncio", "-o", "anyio_mode=auto"),
}
MODULES = ("-o", "python_files=pt_*.py")
PASSING = 54
# What goes wrong on purpose; the tests beside them see that nothing is left of it.
FAILING = [
    *[("TestFailing::test_1_that_fails", "FAILED")] * 2,
    *[("TestFailing::test_2_that_errs_in_a_block", "FAILED")] * 2,
    ("TestFailing::test_3_that_leaves_a_block_open", "FAILED"),
    ("TestFailing::test_3_that_leaves_a_task_in_a_block", "FAILED"),
    ("TestFailing::test_4_that_is_broken_off_in_a_block", "FAILED"),
    ("TestFailing::test_4_that_leaves_a_task_in_a_block", "FAILED"),
    ("TestFailing::test_5_that_is_broken_off", "FAILED"),
    ("TestFailing::test_5_that_is_broken_off_in_a_query", "FAILED"),
    ("TestFailing::test_6_that_is_broken_off_in_a_block", "FAILED"),
    ("TestFailing::test_7_whose_query_times_out", "FAILED"),
    ("TestFailing::test_8_that_is_cancelled", "FAILED"),
    ("TestOneLoop::test_2_that_is_broken_off_by_an_error_in_a_block", "FAILED"),
    ("TestOneLoop::test_3_that_is_broken_off_in_a_block", "FAILED"),
    ("TestOneLoop::test_3_that_leaves_a_block_open", "FAILED"),
    ("TestOneLoop::test_4_that_is_broken_off", "FAILED"),
    ("test_leaving_a_task_fails", "FAILED"),
]


@pytest.mark.parametrize("runner", PLUGINS)
def test_fixtures_of_pytest_django(bookshop: Bookshop, runner: str) -> None:
    auto = ("-o", "asyncio_mode=auto") if runner == "asyncio" else ()
    if runner == "anyio":
        bookshop.on_files()  # with the other they are in memory
    ran = bookshop.pytest(*PLUGINS[runner], *auto, *MODULES, BOOKSHOP_RUNNER=runner)
    assert ran.problems == FAILING, ran.output
    assert ran.outcomes == {"passed": PASSING, "failed": len(FAILING)}, ran.output
    assert "'planted' is not done" in ran.output
    assert bookshop.test_databases() == [], ran.output


def test_fixtures_of_pytest_django_in_two_processes_and_strict_mode(bookshop: Bookshop) -> None:
    # Modules that empty the tables spoil what `pt_serialized` asks for; see there.
    ran = bookshop.pytest(
        *PLUGINS["asyncio"],
        *("-o", "asyncio_mode=strict", *MODULES, "-n", "2", "--dist", "loadfile"),
        *("-k", "not Failing and not OneLoop and not leaving and not serialized"),
        BOOKSHOP_RUNNER="asyncio",
    )
    assert_clean(ran, {"passed": 45}, bookshop)
