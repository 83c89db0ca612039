"""Jobs about files: thin, as views are."""

from files import examining
from workspace.background import task


@task
async def examine(pk: str) -> None:
    await examining.examine(pk)
