"""Who is compared, and how a worker process loads each one's application."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any


def _django_asgi() -> Any:
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


def _django_wsgi() -> Any:
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def _onloop() -> Any:
    from onloop.asgi import get_asgi_application

    return get_asgi_application()


def _fastapi() -> Any:
    from benchmarks.fastapi_app import app

    return app


@dataclass(frozen=True)
class Contender:
    name: str
    label: str
    application: Callable[[], Any]
    modules: tuple[str, ...]  # what has to be importable
    distributions: tuple[str, ...]  # whose versions are printed
    wsgi: bool = False
    django: bool = True

    def missing(self) -> list[str]:
        return [module for module in self.modules if find_spec(module) is None]

    def versions(self) -> dict[str, str]:
        found = {}
        for distribution in self.distributions:
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:  # on the path without being installed
                found[distribution] = "not installed"
        return found

    def load(self) -> Any:
        """The application, made in the worker process."""
        if self.django:
            os.environ["BENCH_CONTENDER"] = self.name
            os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.shop.settings"
        return self.application()


_DJANGO = ("Django", "asgiref", "psycopg", "psycopg-pool")

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("stock", "stock ASGI", _django_asgi, ("django", "psycopg_pool"), _DJANGO),
        Contender("wsgi", "WSGI", _django_wsgi, ("django", "psycopg_pool"), _DJANGO, wsgi=True),
        Contender(
            "onloop",
            "Onloop",
            _onloop,
            ("django", "onloop"),
            ("django-onloop", "greenlet", "Django", "asgiref", "psycopg"),
        ),
        Contender(
            "fastapi",
            "FastAPI + SQLAlchemy + asyncpg",
            _fastapi,
            ("fastapi", "sqlalchemy", "asyncpg", "greenlet"),
            ("fastapi", "starlette", "pydantic", "SQLAlchemy", "asyncpg"),
            django=False,
        ),
        Contender(
            "django-async-backend",
            "django-async-backend",
            _django_asgi,
            ("django", "django_async_backend", "psycopg_pool"),
            ("django-async-backend", *_DJANGO),
        ),
    )
}
