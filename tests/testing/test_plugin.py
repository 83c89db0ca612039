"""The pytest plugin in a pytest of its own, as a user without Django settings has it."""

import os
import subprocess
import sys
import textwrap

import pytest

# A project that has nothing but a test module.
TESTS = """
    import asyncio, os, sys, tempfile, threading
    import pytest

    leaks = []

    {mark}
    async def test_async_and_clean(leak_ledger):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    {mark}
    async def test_async_and_settled(leak_ledger):
        leaks.append(asyncio.create_task(asyncio.sleep(0.05)))

    {mark}
    async def test_async_and_leaking(leak_ledger):
        leak_ledger.timeout_s = 0
        leaks.append(asyncio.create_task(asyncio.sleep(60), name="the leak"))

    def test_sync_and_clean(leak_ledger):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")

    def test_sync_and_leaking(leak_ledger):
        leak_ledger.timeout_s = 0
        tempfile.mkdtemp(prefix="the-leak-")

    class TestMethods:
        def test_method_leaking(self, leak_ledger):
            leak_ledger.timeout_s = 0
            tempfile.mkstemp(prefix="the-leak-")

        {mark}
        async def test_async_method_clean(self, leak_ledger, tmp_path):
            await asyncio.sleep(0)

    @pytest.fixture
    def resource():
        read, write = os.pipe()
        yield
        os.close(read)
        os.close(write)

    def test_what_fixtures_hold_is_not_the_test_s(leak_ledger, resource):
        pass

    def test_that_fails_by_itself(leak_ledger):
        tempfile.mkdtemp(prefix="not-shown-")
        raise LookupError("its own error")

    {mark}
    async def test_sweep_and_window(cancel_sweep, forced_window):
        assert (await cancel_sweep(lambda: asyncio.sleep(0))).waits == 1
        async with forced_window.at("os.path.join", before=True):
            pass

    def test_proxy_without_a_database(fault_proxy):
        raise AssertionError("never run")

    def test_nothing_was_loaded_that_is_not_needed():
        assert not {{"django.db", "psycopg"}} & set(sys.modules)
"""


def run_pytest(folder, code, *arguments):
    (folder / "test_user.py").write_text(textwrap.dedent(code))
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO", "PYTEST", "ONLOOP"))
    }
    command = [sys.executable, "-m", "pytest", "-rA", "-c", os.devnull, "--rootdir", folder]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:django", *arguments, folder],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return run.stdout + run.stderr


@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        pytest.param("@pytest.mark.asyncio", ["-p", "no:anyio"], id="pytest-asyncio"),
        pytest.param("@pytest.mark.anyio", ["-p", "no:asyncio"], id="anyio"),
    ],
)
def test_the_fixtures_work_without_django_settings(tmp_path, mark, arguments):
    code = TESTS.format(mark=mark)
    if "anyio" in mark:
        code += """
    @pytest.fixture
    def anyio_backend():
        return "asyncio"
"""
    said = run_pytest(tmp_path, code, *arguments)
    for name in (
        "test_async_and_clean",
        "test_async_and_settled",
        "test_sync_and_clean",
        "TestMethods::test_async_method_clean",
        "test_what_fixtures_hold_is_not_the_test_s",
        "test_sweep_and_window",
        "test_nothing_was_loaded_that_is_not_needed",
    ):
        assert f"PASSED test_user.py::{name}\n" in said, said
    for name in (
        "test_async_and_leaking",
        "test_sync_and_leaking",
        "TestMethods::test_method_leaking",
        "test_that_fails_by_itself",
    ):
        assert f"FAILED test_user.py::{name}" in said, said
    assert "- task: 'the leak' is not done; it waits in" in said
    assert "- file: temporary folder" in said
    assert "- file: temporary file" in said
    assert "not-shown-" not in said.replace('prefix="not-shown-"', "")
    assert "4 failed" in said
    assert "is no PostgreSQL" in said
    assert "1 skipped" in said


def test_a_run_that_uses_no_fixture_is_left_alone(tmp_path):
    said = run_pytest(
        tmp_path,
        """
        import sys

        def test_nothing():
            assert "django.conf" not in sys.modules
        """,
    )
    assert "1 passed" in said, said
