"""An engine that brings classes and types of its own, in the way of PostGIS."""

from __future__ import annotations

import enum
from typing import Any

from django.db.backends.postgresql import base, features, introspection, operations, schema
from psycopg.types.enum import EnumInfo, register_enum

from onloop.db.backends.postgresql.base import PostgreSQLMixin


class Mood(enum.Enum):
    HAPPY = "happy"
    SAD = "sad"


class MoodFeatures(features.DatabaseFeatures):
    has_moods = True


class MoodOperations(operations.DatabaseOperations):
    def mood_sql(self) -> str:
        return f"SELECT {self.quote_name('happy')}"


class MoodIntrospection(introspection.DatabaseIntrospection):
    def moods(self) -> list[str]:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT unnest(enum_range(NULL::mood))::text")
            return [row[0] for row in cursor.fetchall()]


class MoodSchemaEditor(schema.DatabaseSchemaEditor):
    def column_sql(self, *args: Any, **kwargs: Any) -> Any:
        return super().column_sql(*args, **kwargs)


class MoodWrapper(base.DatabaseWrapper):
    SchemaEditorClass = MoodSchemaEditor
    features_class = MoodFeatures
    ops_class = MoodOperations
    introspection_class = MoodIntrospection
    fetched = 0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        info = EnumInfo.fetch(connection, "mood")
        type(self).fetched += 1
        if info is not None:
            # As the names of the members are not the labels of the type.
            register_enum(info, connection, Mood, mapping={mood: mood.value for mood in Mood})
        return connection


class DatabaseWrapper(PostgreSQLMixin, MoodWrapper):
    pass
