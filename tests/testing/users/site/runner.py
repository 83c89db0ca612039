"""Which plugin runs the async tests; the same tests are run by each."""

import os

import pytest

RUNNER = os.environ["BOOKSHOP_RUNNER"]

if RUNNER == "asyncio":
    import pytest_asyncio

    mark = pytest.mark.asyncio
    # One loop for all tests of a module.
    wide = pytest.mark.asyncio(loop_scope="module")
    fixture = pytest_asyncio.fixture

    def wide_fixture(function, scope="function"):
        return pytest_asyncio.fixture(loop_scope="module", scope=scope)(function)
else:
    mark = wide = pytest.mark.anyio
    fixture = pytest.fixture

    def wide_fixture(function, scope="function"):
        return pytest.fixture(scope=scope)(function)
