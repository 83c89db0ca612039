"""What `OPTIONS["pool"]` of a database may say."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from onloop.db.pool import PoolOptions

# Names of psycopg_pool's options that mean nothing here: this pool has no worker threads, opens
# in its callers, and makes every connection as Django configures it.
_WITHOUT_MEANING = frozenset({
    "close_returns", "configure", "connection_class", "conninfo", "kwargs", "num_workers",
    "open",
})  # fmt: skip


def pool_mode(settings_dict: dict[str, Any]) -> str:
    """Return "transaction" or "session": how long a scope keeps a connection."""
    given = settings_dict["OPTIONS"].get("pool")
    return given.get("mode", "transaction") if isinstance(given, dict) else "transaction"


def answer_timeout_s(wrapper: Any) -> float | None:
    """Return `OPTIONS["answer_timeout"]`: seconds that the server has to answer a statement.

    Raises `ImproperlyConfigured` for what is no positive number.
    """
    given = wrapper.settings_dict["OPTIONS"].get("answer_timeout")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise ImproperlyConfigured(
            f"DATABASES[{wrapper.alias!r}]['OPTIONS']['answer_timeout'] must be a positive "
            f"number of seconds, or None for no limit, not {given!r}."
        )
    return float(given)


def pool_options(wrapper: Any) -> PoolOptions:
    """Read `OPTIONS["pool"]`: True, or a dictionary with psycopg_pool's option names.

    With Django's CONN_HEALTH_CHECKS the driver's own check is the default of `check`.

    Raises `ImproperlyConfigured` for names and values that a pool cannot have.
    """
    given = wrapper.settings_dict["OPTIONS"].get("pool")
    checked = wrapper.settings_dict["CONN_HEALTH_CHECKS"]
    defaults: dict[str, Any] = {"check": wrapper.pool_driver.check} if checked else {}
    if given is None or isinstance(given, bool):
        return PoolOptions(**defaults)
    where = f"DATABASES[{wrapper.alias!r}]['OPTIONS']['pool']"
    if not isinstance(given, dict):
        raise ImproperlyConfigured(
            f"{where} must be True or a dictionary such as {{'max_size': 20}}, not {given!r}."
        )
    known = {field.name for field in fields(PoolOptions)}
    values = {**defaults, **given}
    mode = values.pop("mode", "transaction")
    if mode not in ("transaction", "session"):
        raise ImproperlyConfigured(f"{where}['mode'] must be 'transaction' or 'session'.")
    for name in sorted(_WITHOUT_MEANING & set(values)):
        warnings.warn(f"{where}[{name!r}] has no meaning on the loop.", stacklevel=2)
        del values[name]
    if unknown := sorted(set(values) - known):
        raise ImproperlyConfigured(
            f"{where} has unknown names: {', '.join(unknown)}. Known are: "
            f"{', '.join(sorted(known | {'mode'}))}."
        )
    try:
        if values.get("max_size", 0) is None:
            values["max_size"] = max(values.get("min_size", 0), 1)
        elif "min_size" in values and "max_size" not in values:
            values["max_size"] = max(values["min_size"], PoolOptions.max_size)
        return PoolOptions(**values)
    except (TypeError, ValueError) as exc:
        raise ImproperlyConfigured(f"{where}: {exc}") from None
