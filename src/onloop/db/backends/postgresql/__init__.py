"""PostgreSQL: Django's backend on a psycopg connection that waits on the loop."""

from django.core.exceptions import ImproperlyConfigured

try:
    import psycopg as psycopg
except ImportError as exc:  # not installed, or without the library that it calls
    # Django would say that there is no such engine.
    raise ImproperlyConfigured(
        "The engine onloop.db.backends.postgresql needs psycopg 3 and libpq: "
        f'pip install "psycopg[binary]". ({exc})'
    ) from exc
