"""One's own account, its bearer tokens, and what one was told."""

import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.forms import MAX_NAME
from accounts.models import Profile, Role
from accounts.roles import role_of
from api.base import Api
from notices.models import Notice
from notices.services import mark_read, read_one, unread_of
from onloop import async_to_sync
from onloop.tokens.models import Token
from workspace.api.fields import MAX_ID

MAX_DAYS = 365


class MeSerializer(serializers.Serializer):
    username = serializers.CharField(read_only=True)
    first_name = serializers.CharField(max_length=MAX_NAME, allow_blank=True)
    last_name = serializers.CharField(max_length=MAX_NAME, allow_blank=True)
    about = serializers.CharField(max_length=200, allow_blank=True)
    email = serializers.CharField(read_only=True)
    role = serializers.ChoiceField(Role.choices, read_only=True)
    unread_notices = serializers.IntegerField(read_only=True)


class MeViewSet(Api):
    serializer_class = MeSerializer
    pagination_class = None

    def retrieve(self, request: Request) -> Response:
        """Who you are here."""
        return Response(MeSerializer(self._me()).data)

    def partial_update(self, request: Request) -> Response:
        """Change your name, or what you say of yourself."""
        me = self._me()
        kept = {name: me[name] for name in ("first_name", "last_name", "about")}
        changes = self.sent(MeSerializer, partial=True)
        async_to_sync(services.change_profile)(request.user, **{**kept, **changes})
        return Response(MeSerializer(self._me()).data)

    def _me(self) -> dict[str, Any]:
        user = self.request.user
        profile = Profile.objects.filter(user=user).first() or Profile()
        return {
            "username": user.get_username(),
            "first_name": user.first_name,
            "last_name": user.last_name,
            "about": profile.about,
            "email": user.email,
            "role": role_of(user),
            "unread_notices": unread_of(user).count(),
        }


class TokenSerializer(serializers.ModelSerializer):
    state = serializers.ChoiceField(["valid", "revoked", "expired", "inactive user"])

    class Meta:
        model = Token
        fields = ["id", "name", "visible_id", "state", "created", "expires", "last_used"]
        extra_kwargs = {
            "visible_id": {"help_text": "How its text begins."},
            "expires": {"allow_null": True, "required": True},
        }


class NewTokenSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=100, help_text="What it is for.")
    days = serializers.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        default=30,
        allow_null=True,
        help_text="After so many it expires; null: never.",
    )

    def validate_name(self, name: str) -> str:
        if not name.isprintable():
            raise serializers.ValidationError("Write it in one line of printable characters.")
        return name


class TokenViewSet(Api):
    """Issued and revoked by who has logged in by password, not by a token."""

    queryset = Token.objects.none()
    serializer_class = TokenSerializer
    lookup_value_converter = "id"
    by_session = frozenset({"create", "destroy"})
    problems = {"create": [409]}

    def list(self, request: Request) -> Response:
        """Your bearer tokens, the newest first."""
        return self.page_of(request.user.bearer_tokens.select_related("user").order_by("-pk"))

    @extend_schema(
        request=NewTokenSerializer,
        responses={
            201: inline_serializer(
                "IssuedToken",
                {
                    "token": TokenSerializer(),
                    "text": serializers.CharField(help_text="It is told only now."),
                },
            )
        },
    )
    def create(self, request: Request) -> Response:
        """Issue a token. Its text is in this answer, and nowhere else."""
        values = self.sent(NewTokenSerializer)
        days: int | None = values["days"]
        expires = None if days is None else datetime.timedelta(days=days)
        issue = async_to_sync(services.issue_token)
        token, text = issue(request.user, values["name"], expires)
        return Response({"token": TokenSerializer(token).data, "text": text}, status=201)

    def destroy(self, request: Request, pk: int) -> Response:
        """Revoke a token. Nobody gets in by it any more."""
        if async_to_sync(services.revoke_token)(request.user, pk) is None:
            raise Http404("You have no such token.")
        return Response(status=204)


class NoticeSerializer(serializers.ModelSerializer):
    class Meta:
        model = Notice
        fields = ["id", "kind", "text", "path", "created", "read"]


class NoticeQuery(serializers.Serializer):
    unread = serializers.BooleanField(default=False, help_text="Only those not read yet.")


class UpToSerializer(serializers.Serializer):
    up_to = serializers.IntegerField(
        min_value=1, max_value=MAX_ID, help_text="The id of the newest that was seen."
    )


class NoticeViewSet(RetrieveModelMixin, Api):
    queryset = Notice.objects.none()
    serializer_class = NoticeSerializer
    lookup_value_converter = "id"

    def get_queryset(self) -> QuerySet[Notice]:
        return Notice.objects.filter(user=self.request.user)

    @extend_schema(parameters=[NoticeQuery])
    def list(self, request: Request) -> Response:
        """What you were told, the newest first."""
        only_unread = self.asked(NoticeQuery)["unread"]
        return self.page_of(unread_of(request.user) if only_unread else self.get_queryset())

    @extend_schema(request=UpToSerializer, responses={204: None})
    @action(detail=False, methods=["post"])
    def read(self, request: Request) -> Response:
        """Say that you have read the notices up to one."""
        async_to_sync(mark_read)(request.user, self.sent(UpToSerializer)["up_to"])
        return Response(status=204)

    @extend_schema(request=None, operation_id="notices_read_one")
    @action(detail=True, methods=["post"], url_path="read")
    def read_one(self, request: Request, pk: int) -> Response:
        """Say that you have read one notice."""
        async_to_sync(read_one)(request.user, pk)
        return Response(NoticeSerializer(self.get_object()).data)
