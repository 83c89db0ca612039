"""`manage.py test`: Django's own test classes, on Onloop's engines."""

from __future__ import annotations

import pytest

from tests.testing.users.bookshop import Bookshop, Ran, assert_clean

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]

# What goes wrong on purpose; the tests beside them see that nothing is left of it.
FAILING = [
    ("setUpClass", "ERROR"),
    ("test_1_that_fails", "FAIL"),
    ("test_1_that_fails", "FAIL"),
    ("test_2_that_errs_inside_a_block", "ERROR"),
    ("test_2_that_errs_inside_a_block", "ERROR"),
    ("test_3_that_is_cancelled", "ERROR"),
    ("test_3_that_is_cancelled_inside_a_block", "ERROR"),
    ("test_4_that_leaves_a_task_in_a_block", "FAIL"),
    ("test_4_that_times_out_in_a_query", "ERROR"),
    ("test_5_that_leaves_a_block_open", "FAIL"),
    ("test_5_whose_tasks_err_in_blocks", "ERROR"),
    ("test_6_that_breaks_a_constraint", "ERROR"),
    ("test_7_that_leaves_a_block_open", "FAIL"),
]
TESTS = 104
# Those of the classes in which they stand.
IN_FAILING_CLASSES = 14


def assert_as_expected(ran: Ran, site: Bookshop, tests: int = TESTS) -> None:
    assert ran.problems == FAILING, ran.output
    assert ran.outcomes == {"ran": tests}, ran.output
    # Who dropped a database that is in use, or left a connection to the garbage collector.
    assert "being accessed" not in ran.output, ran.output
    assert "Warning" not in ran.output, ran.output
    assert site.test_databases() == [], ran.output


def test_django_s_test_classes(bookshop: Bookshop) -> None:
    assert_as_expected(bookshop.manage_test("-p", "cases_*.py"), bookshop)


@pytest.mark.only_on("sqlite")
def test_django_s_test_classes_on_a_file(bookshop: Bookshop) -> None:
    bookshop.on_files()
    assert_as_expected(bookshop.manage_test("-p", "cases_*.py"), bookshop)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_django_s_test_classes_in_two_processes(bookshop: Bookshop, start: str) -> None:
    # A failure cannot be sent from one process to another without the package tblib.
    arguments = ("--parallel", "2", "--exclude-tag", "failing", "-p", "cases_*.py")
    assert_clean(
        bookshop.manage_test(*arguments, BOOKSHOP_START=start),
        {"ran": TESTS - IN_FAILING_CLASSES},
        bookshop,
    )


def test_databases_that_are_kept_are_used_again(bookshop: Bookshop) -> None:
    bookshop.on_files()
    for _ in range(2):
        ran = bookshop.manage_test("--keepdb", "cases_testcase.Rows", "cases_testcase.Clients")
        assert ran.problems == [], ran.output
        assert ran.outcomes == {"ran": 23}, ran.output
        assert bookshop.test_databases() != []


def test_databases_are_dropped_whatever_is_connected_to_them(bookshop: Bookshop) -> None:
    bookshop.on_files()
    ran = bookshop.manage_test("-p", "last.py")
    assert ran.problems == [], ran.output
    assert ran.outcomes == {"ran": 1}, ran.output
    assert bookshop.test_databases() == [], ran.output
