"""Settings of the reference service. Everything that differs between places is an environment
variable: ``DATABASE_URL``, ``REDIS_URL``, ``CELERY_BROKER_URL``, ``MEDIA_ROOT``, ``DEBUG``,
``ALLOWED_HOSTS``, ``SECRET_KEY``, and the addresses of the services that the panels show (see
the README)."""

import os
from pathlib import Path

from workspace import environment

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

DEBUG = environment.flag("DEBUG", default=True)
SECRET_KEY = environment.secret_key(VAR_DIR / "secret_key")
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS")  # empty with DEBUG: this machine only

INSTALLED_APPS = [
    "onloop",
    "onloop.rooms",
    "onloop.tasks",
    "onloop.tokens",
    "workspace",
    "accounts",
    "notices",
    "people",
    "catalogue",
    "basket",
    "rooms",
    "panels",
    "files",
    "jobs",
    "operations",
    "rest_framework",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "onloop.middleware.BearerTokenMiddleware",
]

ONLOOP = {
    # Sync views run in a thread unless they are named here. These do nothing but talk to the
    # database, so they are as quick on the loop as an async view.
    "ON_LOOP": ["django.contrib.admin", "rest_framework"],
    "LIFESPAN": [
        "workspace.lifespan.announce",
        "panels.demo.services",
        "operations.station.listening",
    ],
    # Nobody needs a token: every path is public. Who sends one is its user, without a session.
    "BEARER_PUBLIC_PATHS": ["/"],
}

ROOT_URLCONF = "workspace.urls"
ASGI_APPLICATION = "workspace.asgi.application"
WSGI_APPLICATION = "workspace.wsgi.application"

DATABASES = {
    "default": environment.database(
        os.environ.get("DATABASE_URL") or "sqlite:///var/workspace.sqlite3", BASE_DIR
    )
}
CHANNEL_LAYERS = {"default": environment.channel_layer(os.environ.get("REDIS_URL"))}

# Jobs run in this process; with a broker, in Celery's workers (see ``workspace/celery.py``).
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL")
TASKS = {"default": environment.tasks(CELERY_BROKER_URL)}
# A job whose worker was killed runs again: each may be done twice without harm.
CELERY_TASK_ACKS_LATE = CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Seconds that a job rests after each step, to watch it.
JOBS_PAUSE_S = environment.seconds("JOBS_PAUSE", default=0)

# What people upload. Nothing serves this folder: each download asks whose file it is.
MEDIA_ROOT = Path(os.environ.get("MEDIA_ROOT") or VAR_DIR / "media")

# The services that the panels show; None: the one that the demo runs itself.
PANELS = {
    "weather": environment.address("WEATHER_URL"),
    "rates": environment.address("RATES_URL"),
    "news": environment.address("NEWS_URL"),
}
# Seconds that the page waits for all of them.
PANELS_DEADLINE_S = environment.seconds("PANELS_DEADLINE", default=2.5)

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.account",
                "notices.context.bell",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "profile"
LOGOUT_REDIRECT_URL = "start"
# Whether people may make themselves an account, and in which role they begin.
SIGN_UP = environment.flag("SIGN_UP", default=True)
SIGN_UP_ROLE = environment.choice("SIGN_UP_ROLE", ["member", "guest"])
CSRF_FAILURE_VIEW = "workspace.errors.csrf_failure"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["workspace.rest.permissions.StaffOrReadOnly"],
    "DEFAULT_PAGINATION_CLASS": "workspace.rest.pagination.Pages",
    "DEFAULT_FILTER_BACKENDS": [
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "EXCEPTION_HANDLER": "workspace.rest.errors.exception_handler",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "datefmt": "%H:%M:%S",
            "style": "{",
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
        }
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Its own handlers would print every line twice; the root has the only one.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # The access log already has a line for each 404; here only what broke.
        "django.request": {"level": "ERROR"},
        # A line for each request to another service, with its address, which may hold a key.
        "httpx": {"level": "WARNING"},
    },
}
