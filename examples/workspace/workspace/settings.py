"""Settings of the reference service. Everything that differs between places is an environment
variable. The README has a list of them; ``DEPLOYMENT.md`` says which ones production needs."""

import os
from pathlib import Path

from workspace import environment

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

DEBUG = environment.flag("DEBUG", default=True)
SECRET_KEY = environment.secret_key(VAR_DIR / "secret_key")
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS")  # empty with DEBUG: this machine only

# Whether people come by HTTPS; else their cookies would go over the wire as they are.
HTTPS = environment.flag("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# For so long browsers refuse to come without it. Hard to take back: begin with little.
SECURE_HSTS_SECONDS = environment.whole("HSTS_SECONDS", default=3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = environment.flag("HSTS_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = environment.flag("HSTS_PRELOAD", default=False)
# Behind a proxy that ends HTTPS; by choice, since without one anybody could send the header.
SECURE_PROXY_SSL_HEADER = environment.header("PROXY_SSL_HEADER")
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")
# Whoever watches over a process asks it directly.
SECURE_REDIRECT_EXEMPT = [r"^health/"]

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
    "api",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "workspace.requestid.middleware",
    "onloop.middleware.RequestTimingMiddleware",
    "onloop.middleware.JSONErrorMiddleware",
    "workspace.unavailable.middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "onloop.middleware.BearerTokenMiddleware",
    "accounts.middleware.TriesMiddleware",
]

ONLOOP = {
    # Sync views run in a thread unless they are named here. These do nothing but talk to the
    # database, so they are as quick on the loop as an async view.
    "ON_LOOP": ["django.contrib.admin", "rest_framework"],
    # But for the API's document, which takes 60 ms to write, and more on a busy machine.
    "IN_THREAD": ["api.views.Document"],
    # What no view has answered is a problem document here, whatever a client accepts.
    "JSON_ERRORS": ["/api/"],
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
REDIS_URL = os.environ.get("REDIS_URL")
CHANNEL_LAYERS = {"default": environment.channel_layer(REDIS_URL)}
CACHES = {"default": environment.cache(REDIS_URL)}
# Read from Redis, where there is one, and written to the database as well: they outlive it.
SESSION_ENGINE = "workspace.sessions" if REDIS_URL else "django.contrib.sessions.backends.db"

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
                "workspace.context.unread",
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
LOGIN_REDIRECT_URL = "start"
LOGOUT_REDIRECT_URL = "start"
# So many passwords are looked at for a name from an address in so many seconds: enough to find
# the right one of one's own, and 480 a day to guess at somebody else's.
LOG_IN_TRIES = 5
LOG_IN_WINDOW_S = environment.whole("LOG_IN_WINDOW", default=900)
# Whether people may make themselves an account, and in which role they begin.
SIGN_UP = environment.flag("SIGN_UP", default=True)
SIGN_UP_ROLE = environment.choice("SIGN_UP_ROLE", ["member", "guest"])
# So many of somebody's newest notices are kept, and what is unread: eight pages of them. Nobody
# looks for older ones, and each busy room adds to them for ever.
NOTICES_KEPT = 200
CSRF_FAILURE_VIEW = "workspace.errors.csrf_failure"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT") or VAR_DIR / "static")
# With DEBUG they are served from where they lie. Without, as `collectstatic` has gathered them:
# compressed, and under names with a hash of their content, which browsers keep for ever.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# As above, also in tests, which Django runs with DEBUG off.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG
# They are for this service's pages alone.
WHITENOISE_ALLOW_ALL_ORIGINS = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "api.authentication.BearerToken",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["api.permissions.ByRole"],
    "DEFAULT_PAGINATION_CLASS": "api.pages.Pages",
    "DEFAULT_PARSER_CLASSES": ["api.parsers.BoundedJSON"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "api.schema.Schema",
    "EXCEPTION_HANDLER": "api.problems.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Workspace API",
    "DESCRIPTION": "All that the pages do, for programs: the same services, the same roles.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "persistAuthorization": False,
        # Each operation shows what it takes and answers; all of it once more is a long list.
        "defaultModelsExpandDepth": -1,
    },
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": int},
    "ENUM_NAME_OVERRIDES": {
        "JobKind": "jobs.models.Work.Kind",
        "NoticeKind": "notices.models.Notice.Kind",
    },
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
        "json": {"()": "workspace.logs.JsonLines"},
    },
    "filters": {"request": {"()": "workspace.requestid.AddsRequestId"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": environment.choice("LOG_FORMAT", ["line", "json"]),
            "filters": ["request"],
        }
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Its own handlers would print every line twice; the root has the only one.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # uvicorn's own style would be a second one, and its access log a second line for each
        # request: the first, of `onloop.request`, has a duration.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {"handlers": [], "propagate": False},
        # `onloop.request` already has a line for each 404; here only what broke.
        "django.request": {"level": "ERROR"},
        # A line for each request to another service, with its address, which may hold a key.
        "httpx": {"level": "WARNING"},
    },
}

if environment.flag("STOCK", default=False):
    # The same on stock Django, to compare with; nothing else needs this.
    from workspace import stock

    stock.change(globals())
