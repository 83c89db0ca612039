"""Changes to people. No HTTP in here: what goes wrong is told by the errors below."""

from typing import Any

from django.db import IntegrityError, transaction

from people.models import Person, Team


class UnknownPerson(Exception):
    pass


class UnknownTeam(Exception):
    pass


class EmailTaken(Exception):
    pass


async def create_person(values: dict[str, Any]) -> Person:
    """A new person from checked values; ``team`` is an id."""
    return await _write(Person(), values)


async def update_person(pk: int, changes: dict[str, Any]) -> Person:
    """Write the given fields, and only those.

    The row is locked while it is read and written, so that of two changes at once neither is
    lost. SQLite knows no row locks and ignores the request for one: its transactions wait for
    each other as a whole.
    """
    try:
        async with transaction.atomic():
            person = await Person.objects.select_for_update().aget(pk=pk)
            await _write(person, changes)
    except Person.DoesNotExist:
        raise UnknownPerson from None
    return person


async def delete_person(pk: int) -> None:
    deleted, _ = await Person.objects.filter(pk=pk).adelete()
    if not deleted:
        raise UnknownPerson


async def _write(person: Person, values: dict[str, Any]) -> Person:
    try:
        async with transaction.atomic():
            for name, value in values.items():
                setattr(person, name, await _team(value) if name == "team" else value)
            if person.pk is None:
                await person.asave()
            elif values:
                await person.asave(update_fields=[*values, "updated_at"])
    except IntegrityError:
        # The database has the last word; ask it which of the two rules was broken.
        others = Person.objects.exclude(pk=person.pk)
        if await others.filter(email__iexact=person.email).aexists():
            raise EmailTaken from None
        await _team(person.team_id)
        raise
    return person


async def _team(pk: int) -> Team:
    try:
        return await Team.objects.aget(pk=pk)
    except Team.DoesNotExist:
        raise UnknownTeam from None
