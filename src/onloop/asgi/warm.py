"""What is done once, at start-up, so that no request waits for it.

Django imports the URLconf, the template engines with their tags, and the catalogs of
translations when they are first needed, and `onloop.http` reads certificates: the first
requests would hold the loop for that. And what there is when a server has started stays there,
so the garbage collector need not look at it again and again: a full collection of a project's
modules holds the loop for 50 to 100 ms.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.template import engines
from django.urls import get_resolver
from django.utils import translation

logger = logging.getLogger("onloop.asgi")


def warm_up() -> None:
    """Import and build what requests will need.

    What fails is logged, and fails again in the requests that need it, as in Django.
    """
    for what, load in LOADED.items():
        try:
            load()
        except Exception:
            logger.exception(
                "%s could not be loaded at start-up; requests that need it will fail.", what
            )


def _load_urls() -> None:
    get_resolver(settings.ROOT_URLCONF).reverse_dict  # noqa: B018 - builds all there is to build


def _load_templates() -> None:
    engines.all()


def _load_translations() -> None:
    translation.gettext("Yes")  # any text


def load_http() -> None:
    """Load what requests to other services need, if the project has imported `onloop.http`."""
    if "onloop.http" in sys.modules:
        from onloop.http.clients import warm  # noqa: PLC0415 - it needs httpx

        warm()


LOADED: dict[str, Callable[[], None]] = {
    "The URLconf": _load_urls,
    "A template engine": _load_templates,
    "The translations": _load_translations,
    "The HTTP client": load_http,  # after the code of the URLconf, which may import it
}

# How many loops of this process serve.
_serving = 0
_guard = threading.Lock()


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep what is there now from the garbage collector, until the last such block is left."""
    global _serving  # noqa: PLW0603 - the collector is the process's
    with _guard:
        _serving += 1
        # Without a collection before it, which would hold the loop: garbage of the start stays.
        gc.freeze()
    try:
        yield
    finally:
        with _guard:
            _serving -= 1
            if not _serving:
                gc.unfreeze()
