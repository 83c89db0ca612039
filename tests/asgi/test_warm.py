"""What is loaded and frozen at start-up, so that no request waits for it."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref

import pytest
from django.http import HttpResponse
from django.template import engines
from django.template.utils import EngineHandler
from django.urls import get_resolver, path
from django.utils.translation import trans_real

from onloop.asgi import warm
from tests.asgi.client import Lifespan
from tests.asgi.test_watchdog import threads
from tests.db.eventually import eventually


async def plain(request):
    return HttpResponse("hello")


urlpatterns = [path("plain/", plain)]

MODULE = """
import time
from django.http import HttpResponse
from django.urls import path

async def here(request):
    return HttpResponse("here")

urlpatterns = [path("here/", here)]
{more}
"""


@pytest.fixture
def urlconf(tmp_path, monkeypatch, project):
    """`urlconf("name", "code")`: the project has these addresses, which nobody has imported."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name, more=""):
        (tmp_path / f"{name}.py").write_text(MODULE.format(more=more))
        made.append(name)
        project.configure(ROOT_URLCONF=name)
        return project

    yield make
    for name in made:
        sys.modules.pop(name, None)


async def started(project):
    lifespan = Lifespan(project.application)
    assert await lifespan.startup() == {"type": "lifespan.startup.complete"}
    return lifespan


# --- loaded -----------------------------------------------------------------------------------


async def test_what_the_first_request_needs_is_there_when_the_start_is_complete(
    urlconf, monkeypatch
):
    project = urlconf("warm_urls")
    project.configure(LANGUAGE_CODE="de")
    monkeypatch.delitem(trans_real._translations, "de", raising=False)
    monkeypatch.setattr(engines, "_engines", {})
    lifespan = await started(project)
    assert "warm_urls" in sys.modules
    assert get_resolver("warm_urls")._populated
    assert list(engines._engines) == list(engines)
    assert "de" in trans_real._translations
    await lifespan.shutdown()


async def test_a_urlconf_that_fails_is_logged_and_fails_again_as_in_django(
    urlconf, caplog, monkeypatch
):
    project = urlconf("broken_urls", "1 / 0")
    with pytest.raises(ZeroDivisionError):
        await project.get("/here/")
    lifespan = await started(project)
    assert "The URLconf could not be loaded at start-up" in caplog.text
    with pytest.raises(ZeroDivisionError):
        await project.get("/here/")
    await lifespan.shutdown()


async def test_what_fails_keeps_nothing_else_from_being_loaded(urlconf, caplog, monkeypatch):
    project = urlconf("other_broken_urls", "1 / 0")
    monkeypatch.setattr(
        warm, "engines", EngineHandler([{"BACKEND": "no.such.engine.Templates"}])
    )
    monkeypatch.setattr(trans_real, "_default", None)
    lifespan = await started(project)
    assert trans_real._default is not None
    for what in ("The URLconf", "A template engine"):
        assert f"{what} could not be loaded" in caplog.text
    await lifespan.shutdown()


async def test_a_urlconf_that_asks_the_database_leaves_no_connection_out(urlconf):
    """`project` sees to it."""
    more = "from tests.project.library.models import Author\nAuthor.objects.count()"
    project = urlconf("asking_urls", more)
    lifespan = await started(project)
    assert "asking_urls" in sys.modules
    await lifespan.shutdown()


async def test_the_watchdog_says_nothing_of_it(urlconf, caplog):
    """Nobody is kept waiting."""
    project = urlconf("slow_urls", "time.sleep(0.5)")
    project.configure(ONLOOP={"STALL_MS": 100}, LOGGING_CONFIG=None)
    lifespan = await started(project)
    assert "slow_urls" in sys.modules
    await lifespan.shutdown()
    await eventually(lambda: not threads(), "the end of the watchdog")
    assert "slow_urls" not in caplog.text


# --- frozen -----------------------------------------------------------------------------------


async def test_what_is_there_at_the_start_is_kept_from_the_collector_until_the_end(project):
    assert gc.get_freeze_count() == 0
    lifespan = await started(project)
    assert gc.get_freeze_count() > 1000
    await lifespan.shutdown()
    assert gc.get_freeze_count() == 0


async def test_what_comes_later_is_collected(project):
    class Cycle:
        def __init__(self):
            self.itself = self

    lifespan = await started(project)
    gone = weakref.ref(Cycle())
    gc.collect()
    assert gone() is None
    await lifespan.shutdown()


async def test_of_two_applications_the_last_that_ends_thaws(project):
    first, second = await started(project), await started(project)
    await first.shutdown()
    assert gc.get_freeze_count() > 1000
    await second.shutdown()
    assert gc.get_freeze_count() == 0


async def test_a_start_that_fails_freezes_nothing(project):
    project.configure(ONLOOP={"LIFESPAN": ["tests.asgi.test_lifespan.fails"]})
    reply = await Lifespan(project.application).startup()
    assert reply["type"] == "lifespan.startup.failed"
    assert gc.get_freeze_count() == 0


async def test_a_lifespan_that_is_cancelled_thaws(project):
    lifespan = await started(project)
    lifespan.task.cancel()
    await asyncio.wait({lifespan.task})
    assert lifespan.task.cancelled()
    assert gc.get_freeze_count() == 0
