"""Who works here. Everybody with an account reads, members change."""

from typing import Any

from django.db.models import Count
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Role
from api.base import Api
from onloop import async_to_sync
from people import services
from people.models import Person, Team
from people.queries import find_people
from workspace.api.fields import MAX_ID


class TeamSerializer(serializers.ModelSerializer):
    people = serializers.IntegerField(source="size", read_only=True)

    class Meta:
        model = Team
        fields = ["id", "name", "purpose", "people"]


class PersonSerializer(serializers.ModelSerializer):
    team = serializers.IntegerField(source="team_id", min_value=1, max_value=MAX_ID)
    team_name = serializers.CharField(source="team.name", read_only=True)

    class Meta:
        model = Person
        fields = ["id", "name", "email", "team", "team_name", "role", "joined", "active"]


class PeopleQuery(serializers.Serializer):
    q = serializers.CharField(required=False, max_length=100, help_text="Part of the name.")
    team = serializers.CharField(required=False, max_length=80, help_text="A team's name.")


class TeamViewSet(ListModelMixin, RetrieveModelMixin, Api):
    queryset = Team.objects.annotate(size=Count("people")).order_by("name")
    serializer_class = TeamSerializer
    lookup_value_converter = "id"


CHANGING = ("create", "update", "partial_update", "destroy")


class PersonViewSet(RetrieveModelMixin, Api):
    queryset = Person.objects.select_related("team")
    serializer_class = PersonSerializer
    lookup_value_converter = "id"
    roles = dict.fromkeys(CHANGING, Role.MEMBER)
    problems = {"create": [404, 409], "update": [409], "partial_update": [409]}

    @extend_schema(parameters=[PeopleQuery])
    def list(self, request: Request) -> Response:
        """People by name."""
        return self.page_of(find_people(self.asked(PeopleQuery)))

    def create(self, request: Request) -> Response:
        person = async_to_sync(services.create_person)(self._sent())
        return Response(PersonSerializer(person).data, status=201)

    def update(self, request: Request, pk: int) -> Response:
        """Replace what is known of somebody."""
        defaults = {"role": "", "active": True}
        return self._change(pk, defaults | self._sent())

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change what is named, and only that."""
        return self._change(pk, self._sent(partial=True))

    def destroy(self, request: Request, pk: int) -> Response:
        async_to_sync(services.delete_person)(pk)
        return Response(status=204)

    def _change(self, pk: int, values: dict[str, Any]) -> Response:
        person = async_to_sync(services.update_person)(pk, values)
        return Response(PersonSerializer(person).data)

    def _sent(self, **options: Any) -> dict[str, Any]:
        values = dict(self.sent(PersonSerializer, **options))
        if "team_id" in values:
            values["team"] = values.pop("team_id")
        return values
