"""An engine for many tenants, each in a schema of its own, in the way of django-tenants.

Three forms of the same: the `search_path` is set for each cursor (its default), once for each
connection (its `TENANT_LIMIT_SET_CALLS`), or for each cursor by an engine that knows Onloop.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from onloop.db.backends.postgresql.base import PostgreSQLMixin


class TenantWrapper(base.DatabaseWrapper):
    """What a package brings; it knows nothing of Onloop."""

    limit_set_calls = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.search_path_set: str | None = None
        self.schema_name = "public"
        super().__init__(*args, **kwargs)

    def close(self) -> None:
        self.search_path_set = None
        super().close()

    def set_schema(self, schema_name: str) -> None:
        self.schema_name = schema_name
        self.search_path_set = None

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        if not self.limit_set_calls or self.search_path_set is None:
            setting = self.connection.cursor() if name else cursor
            setting.execute(f"SET search_path = '{self.schema_name}'")
            self.search_path_set = self.schema_name
            if name:
                setting.close()
        return cursor


class DatabaseWrapper(PostgreSQLMixin, TenantWrapper):
    def __init__(self, settings_dict: dict[str, Any], alias: str) -> None:
        super().__init__(settings_dict, alias)
        self.form = alias
        self.limit_set_calls = alias == "limited"

    def session_change(self, query: Any, params: Any) -> Any:
        if self.form == "knowing" and str(query).startswith("SET search_path = "):
            return None  # set anew for each cursor, so nobody finds what another has set
        return super().session_change(query, params)
