"""One's files, and links to them."""

import uuid
from collections.abc import Callable
from typing import Any

from django.core.files import File
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.models import Role
from accounts.roles import require
from api.base import Api
from files import serving, sharing, storing
from files.models import ShareLink, StoredFile
from files.naming import clean_name
from onloop import async_to_sync, limits

BYTES = "application/octet-stream"


class NotBytes(APIException):
    status_code = 415
    default_detail = f"Send the file's bytes, with the header “Content-Type: {BYTES}”."


class FileQuery(serializers.Serializer):
    whose = serializers.ChoiceField(
        ["mine", "all"],
        default="mine",
        help_text="`all`: which files there are, for owners. What is in them is not theirs.",
    )


class FileSerializer(serializers.ModelSerializer):
    owner = serializers.CharField(source="owner.username", help_text="A user name.")

    class Meta:
        model = StoredFile
        fields = ["id", "owner", "name", "size", "media_type", "created", "sha256", "examined"]
        extra_kwargs = {"examined": {"help_text": "Then a job had found its SHA-256."}}


class LinkSerializer(serializers.ModelSerializer):
    url = serializers.SerializerMethodField()

    class Meta:
        model = ShareLink
        fields = ["id", "url", "created", "expires", "revoked", "downloads"]

    def get_url(self, link: ShareLink) -> str:
        return reverse("shared", args=[link.pk], request=self.context.get("request"))


class NewLinkSerializer(serializers.Serializer):
    hours = serializers.ChoiceField([int(hours) for hours in sharing.CHOICES])


class FileViewSet(Api):
    queryset = StoredFile.objects.none()
    serializer_class = FileSerializer
    lookup_value_converter = "uuid"
    roles = dict.fromkeys(("create", "share"), Role.MEMBER)
    problems = {"list": [403], "create": [409]}

    @classmethod
    def as_view(cls, *args: Any, **options: Any) -> Callable[..., HttpResponseBase]:
        return limits(max_body=storing.MAX_BYTES)(super().as_view(*args, **options))

    @extend_schema(parameters=[FileQuery])
    def list(self, request: Request) -> Response:
        """Files, the newest first."""
        files = StoredFile.objects.select_related("owner")
        if self.asked(FileQuery)["whose"] == "all":
            require(request.user, Role.OWNER)
            return self.page_of(files)
        return self.page_of(files.filter(owner=request.user))

    @extend_schema(
        parameters=[OpenApiParameter("name", str, required=True, description="Its name.")],
        request={BYTES: OpenApiTypes.BINARY},
        responses={201: FileSerializer},
    )
    def create(self, request: Request) -> Response:
        """Store a file: the body is its bytes, which go into the storage as they come."""
        if request.content_type.partition(";")[0].strip() != BYTES:
            raise NotBytes
        name = clean_name(request.query_params.get("name"))
        content = File(request._request, name=name)
        file = async_to_sync(storing.store)(request.user, name, content)
        return Response(FileSerializer(file).data, status=201)

    def retrieve(self, request: Request, pk: uuid.UUID) -> Response:
        return Response(FileSerializer(self._own(pk)).data)

    def destroy(self, request: Request, pk: uuid.UUID) -> Response:
        """Delete a file of yours; owners delete anybody's."""
        async_to_sync(storing.delete)(request.user, pk)
        return Response(status=204)

    @extend_schema(responses={(200, "*/*"): OpenApiTypes.BINARY})
    @action(detail=True, pagination_class=None)
    def content(self, request: Request, pk: uuid.UUID) -> HttpResponseBase:
        """The bytes; `Range` and conditions are understood."""
        return async_to_sync(serving.download)(request._request, self._own(pk))

    @extend_schema(responses={(200, "image/png"): OpenApiTypes.BINARY})
    @action(detail=True, pagination_class=None)
    def thumbnail(self, request: Request, pk: uuid.UUID) -> HttpResponseBase:
        """A small picture, once a job has made one of an image."""
        return async_to_sync(serving.picture)(request._request, self._own(pk), "thumbnail")

    @extend_schema(responses={(200, "image/webp"): OpenApiTypes.BINARY})
    @action(detail=True, pagination_class=None)
    def preview(self, request: Request, pk: uuid.UUID) -> HttpResponseBase:
        """A larger one."""
        return async_to_sync(serving.picture)(request._request, self._own(pk), "preview")

    @extend_schema(responses=LinkSerializer(many=True))
    @action(detail=True, serializer_class=LinkSerializer)
    def links(self, request: Request, pk: uuid.UUID) -> Response:
        """The links to a file, also those that are over."""
        return self.page_of(self._own(pk).links.order_by("-created", "-id"))

    @extend_schema(request=NewLinkSerializer, responses={201: LinkSerializer})
    @links.mapping.post
    def share(self, request: Request, pk: uuid.UUID) -> Response:
        """A link for whoever has it, without a log-in."""
        hours = str(self.sent(NewLinkSerializer)["hours"])
        link = async_to_sync(sharing.share)(request.user, pk, hours)
        return Response(self.get_serializer(link).data, status=201)

    @extend_schema(
        parameters=[OpenApiParameter("link", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses={204: None},
    )
    @action(detail=True, methods=["delete"], url_path="links/<uuid:link>")
    def unshare(self, request: Request, pk: uuid.UUID, link: uuid.UUID) -> Response:
        """Revoke a link."""
        async_to_sync(sharing.revoke)(self._own(pk), link)
        return Response(status=204)

    def _own(self, pk: uuid.UUID) -> StoredFile:
        files = StoredFile.objects.select_related("owner")
        return files.get(pk=pk, owner=self.request.user)
