"""Work that takes longer than a request."""

from django.core.exceptions import PermissionDenied
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Role
from api.base import Api
from files.models import StoredFile
from jobs import services
from jobs.models import Work
from jobs.states import Shown, shown
from jobs.views import MAY_IMPORT
from onloop import async_to_sync


class JobSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="work.pk")
    kind = serializers.ChoiceField(Work.Kind.choices, source="work.kind")
    state = serializers.CharField(
        source="label", help_text="waiting, running, done, failed, cancelled, refused, lost, …"
    )
    part = serializers.FloatField(allow_null=True, help_text="How much is done, from 0 to 1.")
    problem = serializers.CharField(source="work.problem", help_text="Why it was refused.")
    result = serializers.JSONField(source="work.result")
    source = serializers.UUIDField(source="work.source_id", allow_null=True)
    outcome = serializers.UUIDField(
        source="work.outcome_id", allow_null=True, help_text="The file that it has made."
    )
    attempt = serializers.IntegerField(source="work.attempt")
    created = serializers.DateTimeField(source="work.created")
    may_cancel = serializers.BooleanField()
    may_retry = serializers.BooleanField()


class NewJobSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(Work.Kind.choices)
    source = serializers.UUIDField(
        required=False, help_text="For an import: the id of a CSV file of yours."
    )

    def validate(self, values: dict[str, object]) -> dict[str, object]:
        if (values["kind"] == Work.Kind.IMPORT) != ("source" in values):
            raise serializers.ValidationError("An import, and only that, takes a `source`.")
        return values


class AttemptSerializer(serializers.Serializer):
    attempt = serializers.IntegerField(
        min_value=1, max_value=10**9, help_text="The one that has ended."
    )


class JobViewSet(Api):
    queryset = Work.objects.none()
    serializer_class = JobSerializer
    lookup_value_converter = "id"
    role = Role.MEMBER
    roles = dict.fromkeys(("list", "retrieve"), Role.GUEST)
    problems = {"create": [404, 409], "retry": [409]}

    def list(self, request: Request) -> Response:
        """Your jobs, the newest first; the staff see everybody's."""
        page = self.paginate_queryset(services.visible_to(request.user))
        found = async_to_sync(shown)(page)
        return self.get_paginated_response(JobSerializer(found, many=True).data)

    def retrieve(self, request: Request, pk: int) -> Response:
        """How it stands."""
        return self._state(self._visible(pk))

    @extend_schema(request=NewJobSerializer, responses={201: JobSerializer})
    def create(self, request: Request) -> Response:
        """Begin a job."""
        values = self.sent(NewJobSerializer)
        source = None
        if "source" in values:
            if not request.user.has_perms(MAY_IMPORT):
                raise PermissionDenied("Imports are for accounts that may change products.")
            source = StoredFile.objects.get(pk=values["source"], owner=request.user)
        work = async_to_sync(services.begin)(request.user, values["kind"], source)
        return self._state(self._visible(work.pk), status=201)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: int) -> Response:
        """End it, if there is something to end."""
        work = self._visible(pk)
        async_to_sync(services.cancel)(work)
        return self._state(work)

    @extend_schema(request=AttemptSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: int) -> Response:
        """Begin it anew."""
        work = self._visible(pk)
        async_to_sync(services.retry)(work, self.sent(AttemptSerializer)["attempt"])
        return self._state(self._visible(pk))

    def _visible(self, pk: int) -> Work:
        work = services.visible_to(self.request.user).filter(pk=pk).first()
        if work is None:
            raise Http404("There is no such job.")
        return work

    def _state(self, work: Work, status: int = 200) -> Response:
        found: list[Shown] = async_to_sync(shown)([work])
        return Response(JobSerializer(found[0]).data, status=status)
