"""Settings of the test project.

Which databases it uses stands in the environment, put there by `tests/conftest.py` for itself
and for the servers that it starts: `ONLOOP_TEST_DB` ("postgresql" or "sqlite") and, for the
one, `ONLOOP_TEST_HOST` and `ONLOOP_TEST_PORT`, for the other `ONLOOP_TEST_FOLDER`. A test that
starts a server of its own may add `ONLOOP_TEST_DATABASE_OPTIONS`, JSON that becomes the OPTIONS
of `default`, `ONLOOP_TEST_ONLOOP`, JSON that becomes the setting ONLOOP, and
`ONLOOP_TEST_SITE`, JSON with ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS, `ONLOOP_TEST_LAYER`,
JSON that becomes the channel layer, `ONLOOP_TEST_TASKS`, the OPTIONS of the backend of tasks,
and `ONLOOP_TEST_CACHE`, JSON that becomes the default cache, with `ONLOOP_TEST_SESSIONS`, the
name of the sessions' engine.
"""

import json
import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

from tests.database import ALIASES
from tests.postgres import USER

# Made anew for each run, and handed on to the servers that it starts.
SECRET_KEY = os.environ.setdefault("ONLOOP_TEST_SECRET_KEY", get_random_secret_key())
DEBUG = False
_site = json.loads(os.environ.get("ONLOOP_TEST_SITE", "{}"))
ALLOWED_HOSTS = _site.get("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "testserver"])
CSRF_TRUSTED_ORIGINS = _site.get("CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "onloop",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "onloop.tokens",
    "onloop.rooms",
    "onloop.tasks",
    "rest_framework.authtoken",
    "tests.project.library",
    "tests.project.desk",
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

ROOT_URLCONF = "tests.project.urls"
ASGI_APPLICATION = "tests.project.asgi.application"
WSGI_APPLICATION = "tests.project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _databases() -> dict[str, dict[str, object]]:
    if os.environ["ONLOOP_TEST_DB"] == "sqlite":
        folder = Path(os.environ["ONLOOP_TEST_FOLDER"])
        return {
            alias: {
                "ENGINE": "onloop.db.backends.sqlite3",
                "NAME": folder / f"{name}.sqlite3",
            }
            for alias, name in ALIASES.items()
        }
    return {
        alias: {
            "ENGINE": "onloop.db.backends.postgresql",
            "HOST": os.environ["ONLOOP_TEST_HOST"],
            "PORT": os.environ["ONLOOP_TEST_PORT"],
            "USER": USER,
            "NAME": name,
        }
        for alias, name in ALIASES.items()
    }


DATABASES = _databases()
if options := os.environ.get("ONLOOP_TEST_DATABASE_OPTIONS"):
    DATABASES["default"]["OPTIONS"] = json.loads(options)
ONLOOP = json.loads(os.environ.get("ONLOOP_TEST_ONLOOP", "{}"))
_layer = {"BACKEND": "onloop.channels.layers.InMemoryChannelLayer"}
CHANNEL_LAYERS = {"default": json.loads(os.environ.get("ONLOOP_TEST_LAYER", "null")) or _layer}
if cache := os.environ.get("ONLOOP_TEST_CACHE"):
    CACHES = {"default": json.loads(cache)}
SESSION_ENGINE = "django.contrib.sessions.backends." + os.environ.get(
    "ONLOOP_TEST_SESSIONS", "db"
)
TASKS = {
    "default": {
        "BACKEND": "onloop.tasks.InProcessBackend",
        "QUEUES": [],  # any
        "OPTIONS": json.loads(os.environ.get("ONLOOP_TEST_TASKS", "{}")),
    }
}
if os.environ.get("ONLOOP_TEST_CELERY"):  # the URL of a Redis
    TASKS["celery"] = {"BACKEND": "onloop.tasks.CeleryBackend", "QUEUES": []}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Tables straight from the models: running every migration of Django would cost a second per
# run and says nothing about the engine that the tests of it do not.
MIGRATION_MODULES = dict.fromkeys(
    (
        *("admin", "auth", "authtoken", "contenttypes", "sessions", "library"),
        *("onloop_rooms", "onloop_tasks", "onloop_tokens"),
    ),
    None,
)

# Fast, since the users of tests have nothing to hide. Tests of hashing choose their own.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
LOGIN_URL = "/admin/login/"

# What goes wrong in a server that tests start stands in its log, which a failing test shows.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}},
}
