"""Reads settings from environment variables. Says what is wrong instead of guessing."""

import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_POSTGRES_OPTIONS = {"host", "port", "sslmode", "connect_timeout", "application_name"}


def flag(name: str, default: bool) -> bool:
    text = os.environ.get(name)
    if text is None:
        return default
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name} must be 1 or 0 (or true/false, yes/no, on/off).")
    return word in _TRUE


def words(name: str) -> list[str]:
    """A list separated by commas."""
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


def choice(name: str, choices: Sequence[str]) -> str:
    """One of these words, the first by default."""
    word = os.environ.get(name, "").strip().lower() or choices[0]
    if word not in choices:
        raise ImproperlyConfigured(f"{name} must be one of: {', '.join(choices)}.")
    return word


def whole(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ImproperlyConfigured(f"{name} must be a whole number from 0 up, such as 3600.")
    return int(text)


def header(name: str) -> tuple[str, str] | None:
    """``X-Forwarded-Proto=https`` as Django's SECURE_PROXY_SSL_HEADER wants it."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not (found := re.fullmatch(r"([A-Za-z][A-Za-z0-9-]*)=([A-Za-z0-9]+)", text)):
        raise ImproperlyConfigured(f"{name} must look like X-Forwarded-Proto=https.")
    return "HTTP_" + found[1].upper().replace("-", "_"), found[2]


def seconds(name: str, default: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text, re.ASCII) or not float(text):
        raise ImproperlyConfigured(f"{name} must be a number of seconds above 0, such as 2.5.")
    return float(text)


def address(name: str) -> str | None:
    """The address of another service. Errors never repeat it: it may hold a key."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        fits = False
    if not fits or not text.isascii() or not text.isprintable() or " " in text:
        raise ImproperlyConfigured(
            f"{name} must be an address like https://weather.example.org/now, with special "
            "characters percent-encoded."
        )
    return text


def secret_key(path: Path) -> str:
    """``SECRET_KEY`` of the environment, or the one in ``path``, made at the first start."""
    if key := os.environ.get("SECRET_KEY"):
        return key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # mode 600
        with open(handle, "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            # Several workers may start at once: a link is atomic, and whoever is late loses.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
    return path.read_text().strip()


def database(url: str, base: Path) -> dict[str, Any]:
    """Django's database settings for a URL.

    ``sqlite:///path`` is relative to ``base`` unless the path begins with a slash of its own
    (four in all). ``postgresql://user:password@host:port/name`` takes the folder of a Unix
    socket as ``?host=``. Errors never repeat the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read: the port must be a number, options look like a=b, "
            "and special characters are percent-encoded."
        ) from None
    name = unquote(parts.path[1:])
    if not name:
        raise ImproperlyConfigured("DATABASE_URL names no database: nothing follows the host.")
    if parts.scheme == "sqlite":
        if parts.netloc or options:
            raise ImproperlyConfigured(
                "DATABASE_URL for SQLite is sqlite:///path, nothing else."
            )
        return _sqlite(name if name == ":memory:" else str(base / name))
    if parts.scheme in ("postgresql", "postgres"):
        if unknown := options.keys() - _POSTGRES_OPTIONS:
            raise ImproperlyConfigured(f"DATABASE_URL has unknown options: {sorted(unknown)}.")
        return {
            "ENGINE": "onloop.db.backends.postgresql",
            "NAME": name,
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": options.pop("host", parts.hostname or ""),
            "PORT": options.pop("port", port or ""),
            "OPTIONS": options,
        }
    raise ImproperlyConfigured("DATABASE_URL must begin with sqlite:/// or postgresql://.")


def channel_layer(url: str | None) -> dict[str, Any]:
    """The layer that announces what happens in rooms: of this process alone, or in Redis."""
    if not url:
        return {"BACKEND": "onloop.channels.layers.InMemoryChannelLayer"}
    return {
        "BACKEND": "onloop.channels.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [url]},
    }


def cache(url: str | None) -> dict[str, Any]:
    """The cache: Redis, which all processes share, or the memory of this one."""
    if not url:
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    return {"BACKEND": "onloop.cache.RedisCache", "LOCATION": url, "KEY_PREFIX": "workspace"}


def tasks(broker: str | None) -> dict[str, Any]:
    """The backend of background jobs: in this process, or Celery's workers behind a broker."""
    if not broker:
        return {"BACKEND": "onloop.tasks.InProcessBackend", "OPTIONS": {"max_running": 5}}
    return {"BACKEND": "onloop.tasks.CeleryBackend", "OPTIONS": {"app": "workspace.celery.app"}}


def _sqlite(name: str) -> dict[str, Any]:
    if name != ":memory:":
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    return {
        "ENGINE": "onloop.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": {
            # Seconds that a writer waits for its turn on the file.
            "timeout": 20,
            # With a write-ahead log readers and the one writer do not hold each other up.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
