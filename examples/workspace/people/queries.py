"""What is asked about people, by the page and by the API."""

from collections.abc import Mapping

from django.db.models import QuerySet

from people.models import Person
from workspace.api.fields import query_text


def find_people(query: Mapping[str, str]) -> QuerySet[Person]:
    """Whose name has ``?q=`` in it, of ``?team=``. Raises ``ApiError`` 400."""
    people = Person.objects.select_related("team")
    if wanted := query_text(query, "q", 100):
        people = people.filter(name__icontains=wanted)
    if team := query_text(query, "team", 80):
        people = people.filter(team__name__iexact=team)
    return people
