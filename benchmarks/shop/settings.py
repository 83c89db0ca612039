"""Settings of all Django contenders. `BENCH_CONTENDER` says which one this process is."""

import os

CONTENDER = os.environ["BENCH_CONTENDER"]

# Per contender: what goes first in INSTALLED_APPS, the database engine and the views.
_APPS, _ENGINE, _VIEWS = {
    "stock": ([], "django.db.backends.postgresql", "views_stock"),
    "wsgi": ([], "django.db.backends.postgresql", "views_sync"),
    "onloop": (["onloop"], "onloop.db.backends.postgresql", "views_onloop"),
    "django-async-backend": (
        ["django_async_backend"],
        "django_async_backend.db.backends.postgresql",
        "views_async_backend",
    ),
}[CONTENDER]

VIEWS = f"benchmarks.shop.{_VIEWS}"

SECRET_KEY = "only for measuring, guards nothing"
DEBUG = False
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "benchmarks.shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    *_APPS,
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "benchmarks.shop",
]

# The seven that `startproject` writes.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

DATABASES = {
    "default": {
        "ENGINE": _ENGINE,
        "HOST": os.environ["BENCH_PG_HOST"],
        "PORT": os.environ["BENCH_PG_PORT"],
        "USER": os.environ["BENCH_PG_USER"],
        "NAME": os.environ["BENCH_PG_NAME"],
        "OPTIONS": {"pool": {"max_size": int(os.environ.get("BENCH_POOL_SIZE", "20"))}},
    }
}

# Where the same plain view runs in a thread at the others.
ONLOOP = {
    "ON_LOOP": ["benchmarks.shop.views_sync"],
    # All sockets come from one address, and as fast as they can.
    "SOCKET_RATE": 0,
    "SOCKET_MAX_PER_ADDRESS": 0,
}

# django-async-backend warns about pools at synchronous connections; none is made here.
ASYNC_BACKEND_DISABLE_POOL_WARNING = True

# For `benchmarks.live`.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": (
            "onloop.channels.layers.InMemoryChannelLayer"
            if CONTENDER == "onloop"
            else "channels.layers.InMemoryChannelLayer"
        )
    }
}
