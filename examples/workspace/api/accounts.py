"""Accounts and their roles, for owners."""

from typing import Any

from django.contrib.auth import get_user_model
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.models import Role
from accounts.queries import accounts
from accounts.roles import role_of
from api.base import Api
from onloop import async_to_sync


class AccountSerializer(serializers.ModelSerializer):
    role = serializers.SerializerMethodField()
    joined = serializers.DateTimeField(source="date_joined")
    last_log_in = serializers.DateTimeField(source="last_login", allow_null=True)
    fixed = serializers.BooleanField(
        source="is_superuser", help_text="A superuser: always an owner."
    )

    class Meta:
        model = get_user_model()
        fields = [
            "id",
            "username",
            "first_name",
            "last_name",
            "role",
            "fixed",
            "joined",
            "last_log_in",
        ]

    @extend_schema_field(serializers.ChoiceField(Role.choices))
    def get_role(self, user: Any) -> str | None:
        return role_of(user)


class AccountQuery(serializers.Serializer):
    q = serializers.CharField(
        required=False, max_length=100, help_text="Words of the user name or the name."
    )
    role = serializers.ChoiceField(Role.choices, required=False)


class RoleSerializer(serializers.Serializer):
    role = serializers.ChoiceField(Role.choices)


class AccountViewSet(RetrieveModelMixin, Api):
    queryset = get_user_model().objects.none()
    serializer_class = AccountSerializer
    lookup_value_converter = "id"
    role = Role.OWNER
    problems = {"partial_update": [409]}

    def get_queryset(self) -> Any:
        return accounts()

    @extend_schema(parameters=[AccountQuery])
    def list(self, request: Request) -> Response:
        """Active accounts by user name."""
        asked = self.asked(AccountQuery)
        return self.page_of(accounts(asked.get("q", ""), asked.get("role", "")))

    @extend_schema(request=RoleSerializer)
    def partial_update(self, request: Request, pk: int) -> Response:
        """Give an account another role. There is always an owner."""
        role = Role(self.sent(RoleSerializer)["role"])
        async_to_sync(services.change_role)(request.user, pk, role)
        return Response(AccountSerializer(accounts().get(pk=pk)).data)
