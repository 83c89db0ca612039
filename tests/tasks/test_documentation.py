"""The examples of `docs/tasks.md`, run as they stand there."""

from __future__ import annotations

import re
import sys
import types

import pytest

from onloop.tasks import astate
from tests.postgres import ROOT
from tests.project.library.models import Author

TEXT = (ROOT / "docs" / "tasks.md").read_text()


def blocks():
    for block in re.finditer(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
        yield "\n" * TEXT.count("\n", 0, block.start(1)) + block[1]


@pytest.fixture
def page(monkeypatch):
    """The names of all examples, as if their modules were there."""
    names = {"__name__": "shop.tasks"}
    shop, models, tasks = (
        types.ModuleType(name) for name in ("shop", "shop.models", "shop.tasks")
    )
    models.Product = Author  # it has a name
    for module in (shop, models, tasks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    if "django.tasks" not in sys.modules:
        import django_tasks

        monkeypatch.setitem(sys.modules, "django.tasks", django_tasks)
    for block in blocks():
        exec(compile(block, "docs/tasks.md", "exec"), names)
        vars(tasks).update(names)
    return names


class Request:
    def __init__(self, user):
        self.user = user

    async def auser(self):
        return self.user


async def test_the_documented_view_starts_a_job_that_reports(jobs, page, ended):
    import json

    from django.contrib.auth.models import User

    user = await User.objects.acreate(username="ann")
    response = await page["start"](Request(user))
    job = json.loads(response.content)["job"]
    result = await ended(await page["import_products"].aget_result(job))
    assert result.return_value == 2
    state = await astate(job)
    assert (state.done, state.total, state.note) == (2, 2, "Table")
    assert state.owner_id == user.pk
    assert page["may_see"](user, state)


async def test_the_documented_backends_and_options_are_there(page):
    from dataclasses import fields

    from django.utils.module_loading import import_string

    from onloop.tasks import options

    for path in re.findall(r'"BACKEND": "([\w.]+)"', TEXT):
        assert import_string(path)
    for kind in (options.Options, options.CeleryOptions):
        for field in fields(kind):
            assert f"`{field.name}`" in TEXT
