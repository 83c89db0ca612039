"""`get_asgi_application`, in the place of Django's function of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from onloop.asgi.handler import OnloopHandler


def get_asgi_application() -> OnloopHandler:
    """Set Django up and return the ASGI application of the project.

    Raises `ImproperlyConfigured` if `"onloop"` is not in `INSTALLED_APPS`.
    """
    django.setup(set_prefix=False)
    if not apps.is_installed("onloop"):
        raise ImproperlyConfigured(
            'onloop.asgi.get_asgi_application() needs "onloop" in INSTALLED_APPS; put it first.'
        )
    from onloop.asgi.handler import OnloopHandler  # noqa: PLC0415 - needs the app registry

    return OnloopHandler()
