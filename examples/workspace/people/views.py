"""JSON views over people: classes for the records, functions for the rest.

Everybody reads; changes take a member, by a session with its CSRF token, or by a bearer token.
"""

import csv

from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse

from accounts.api import api_user
from accounts.models import Role
from people import services
from people.forms import PERSON, person_json, team_json
from people.models import Person, Team
from people.queries import find_people
from workspace.api import ApiError, ApiView, api_view, clean, paginate, read_json


class PeopleView(ApiView):
    uses_session = True

    async def get(self, request: HttpRequest) -> HttpResponse:
        page = await paginate(find_people(request.GET), request.GET)
        return JsonResponse(await page.as_json(person_json))

    async def post(self, request: HttpRequest) -> HttpResponse:
        await api_user(request, Role.MEMBER)
        values = clean(read_json(request), PERSON)
        try:
            person = await services.create_person(values)
        except (services.UnknownTeam, services.EmailTaken) as error:
            raise _refusal(error) from None
        return JsonResponse(
            person_json(person), status=201, headers={"Location": f"/people/{person.pk}/"}
        )


class PersonView(ApiView):
    uses_session = True

    async def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        person = await Person.objects.filter(pk=pk).afirst()
        if person is None:
            raise _refusal(services.UnknownPerson())
        return JsonResponse(person_json(person))

    async def put(self, request: HttpRequest, pk: int) -> HttpResponse:
        return await self._change(request, pk, partial=False)

    async def patch(self, request: HttpRequest, pk: int) -> HttpResponse:
        return await self._change(request, pk, partial=True)

    async def delete(self, request: HttpRequest, pk: int) -> HttpResponse:
        await api_user(request, Role.MEMBER)
        try:
            await services.delete_person(pk)
        except services.UnknownPerson as error:
            raise _refusal(error) from None
        return HttpResponse(status=204)

    async def _change(self, request: HttpRequest, pk: int, *, partial: bool) -> HttpResponse:
        await api_user(request, Role.MEMBER)
        changes = clean(read_json(request), PERSON, partial=partial)
        try:
            person = await services.update_person(pk, changes)
        except (services.UnknownPerson, services.UnknownTeam, services.EmailTaken) as error:
            raise _refusal(error) from None
        return JsonResponse(person_json(person))


@api_view("GET")
async def teams(request: HttpRequest) -> HttpResponse:
    page = await paginate(Team.objects.annotate(size=Count("people")), request.GET)
    return JsonResponse(await page.as_json(team_json))


@api_view("GET")
async def team(request: HttpRequest, pk: int) -> HttpResponse:
    """A plain ``for`` over a related manager, in an async view."""
    found = await Team.objects.annotate(size=Count("people")).filter(pk=pk).afirst()
    if found is None:
        raise ApiError(404, "There is no such team.")
    members = [{"id": person.pk, "name": person.name} for person in found.people.all()]
    return JsonResponse({**team_json(found), "members": members})


@api_view("GET")
def export(request: HttpRequest) -> HttpResponse:
    """A sync view as Django has always had them. It runs in a thread of its own."""
    response = HttpResponse(
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="people.csv"'},
    )
    writer = csv.writer(response)
    writer.writerow(["name", "email", "team", "role", "joined", "active"])
    for person in Person.objects.select_related("team"):
        row = [person.name, person.email, person.team.name, person.role]
        writer.writerow([*map(_cell, row), person.joined.isoformat(), person.active])
    return response


def _cell(text: str) -> str:
    """A spreadsheet takes these first characters for a formula's."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _refusal(error: Exception) -> ApiError:
    match error:
        case services.UnknownPerson():
            return ApiError(404, "There is no such person.")
        case services.UnknownTeam():
            return ApiError(404, "There is no such team.", fields={"team": "Unknown id."})
        case services.EmailTaken():
            return ApiError(
                409,
                "Another person has this e-mail address.",
                fields={"email": "Already taken."},
            )
    raise error
