"""Hooks of `ONLOOP["LIFESPAN"]` in a worker."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

from onloop.tasks import home  # noqa: F401 - as in a project with jobs in process
from tests.celery.gates import note
from tests.project.library.models import Author

entered: list[int] = []


@asynccontextmanager
async def index():
    """Counts itself in the gate "hooks"; asks the database on its way in and out."""
    await Author.objects.acount()
    entered.append(os.getpid())
    await note("hooks", "entered")
    yield
    await Author.objects.acount()
    await note("hooks", "left")


@asynccontextmanager
async def fails():
    raise ZeroDivisionError("no index")
    yield
