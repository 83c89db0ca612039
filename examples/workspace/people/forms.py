"""What a client may send about a person, and what it gets to see."""

from typing import Any

from people.models import Person, Team
from workspace.api import Field
from workspace.api.fields import date, email, flag, identifier, text

PERSON = {
    "name": Field(text(120)),
    "email": Field(email()),
    "team": Field(identifier()),
    "joined": Field(date()),
    "role": Field(text(120, blank=True), default=""),
    "active": Field(flag(), default=True),
}


def person_json(person: Person) -> dict[str, Any]:
    """Reads ``person.team``: a query of its own unless the caller selected it."""
    return {
        "id": person.pk,
        "name": person.name,
        "email": person.email,
        "team": {"id": person.team.pk, "name": person.team.name},
        "joined": person.joined,
        "role": person.role,
        "active": person.active,
        "updated_at": person.updated_at,
    }


def team_json(team: Team) -> dict[str, Any]:
    """For a team that was annotated with ``size``."""
    return {"id": team.pk, "name": team.name, "purpose": team.purpose, "people": team.size}
