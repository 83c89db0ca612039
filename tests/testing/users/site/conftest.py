import pytest
import runner


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


async def of_module_runner():
    """With anyio's plugin, one task runs all that is async while a fixture wants it."""
    yield


of_module_runner = runner.wide_fixture(of_module_runner, scope="module")
