"""Ids in addresses: those that a row may have, so that no database is asked for others."""

from django.urls.converters import IntConverter

from workspace.api.fields import MAX_ID


class IdConverter(IntConverter):
    def to_python(self, value: str) -> int:
        """A ``ValueError`` says that the address does not exist."""
        number = super().to_python(value)
        if not 1 <= number <= MAX_ID:
            raise ValueError(f"no row has the id {number}")
        return number
