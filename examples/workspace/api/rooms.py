"""Rooms that one is in, and what is said there."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

import onloop.rooms
from accounts.models import Role
from accounts.roles import role_of
from api.base import Api
from onloop import async_to_sync
from onloop.rooms.models import Message
from rooms import attachments, people, services
from rooms.models import Membership, Room
from rooms.naming import log_of
from workspace.api.fields import MAX_ID

MAX_MESSAGES = 100


def number(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=MAX_ID, **options)


class RoomSerializer(serializers.ModelSerializer):
    """A membership, shown as the room that it is of."""

    slug = serializers.CharField(source="room.slug", read_only=True)
    name = serializers.CharField(source="room.name", read_only=True)
    topic = serializers.CharField(source="room.topic", read_only=True)
    is_open = serializers.BooleanField(source="room.is_open", read_only=True)
    archived = serializers.DateTimeField(
        source="room.archived", read_only=True, allow_null=True
    )
    last = serializers.IntegerField(read_only=True, help_text="Number of the newest message.")
    unread = serializers.IntegerField(read_only=True)
    may_write = serializers.SerializerMethodField()

    class Meta:
        model = Membership
        fields = ["slug", "name", "topic", "is_open", "archived", "last", "unread", "may_write"]

    def get_may_write(self, member: Membership) -> bool:
        return not services.why_silent(member)


class OpenRoomSerializer(serializers.ModelSerializer):
    people = serializers.IntegerField(read_only=True)

    class Meta:
        model = Room
        fields = ["slug", "name", "topic", "people"]


class ManagedRoomSerializer(serializers.ModelSerializer):
    """A room for whoever manages it, who need not be in it."""

    class Meta:
        model = Room
        fields = ["slug", "name", "topic", "is_open", "archived"]


class NewRoomSerializer(serializers.ModelSerializer):
    class Meta:
        model = Room
        fields = ["name", "topic", "is_open"]

    def validate_name(self, name: str) -> str:
        if not any(character.isalnum() for character in name):
            raise serializers.ValidationError("A name has letters or digits in it.")
        return name


class ArchivedSerializer(serializers.Serializer):
    archived = serializers.BooleanField(help_text="False: it is written in again.")


class RoomMemberSerializer(serializers.ModelSerializer):
    username = serializers.CharField(source="user.username")
    name = serializers.CharField(source="user.get_full_name", help_text="Empty if not told.")
    role = serializers.SerializerMethodField(help_text="In the workspace.")

    class Meta:
        model = Membership
        fields = ["id", "username", "name", "role"]

    @extend_schema_field(serializers.ChoiceField(Role.choices, allow_null=True))
    def get_role(self, member: Membership) -> str | None:
        return role_of(member.user)


class InvitationSerializer(serializers.Serializer):
    username = serializers.CharField(max_length=150)


class AttachedSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    size = serializers.IntegerField()
    media_type = serializers.CharField()
    gone = serializers.BooleanField(help_text="Its owner has deleted it.")
    url = serializers.CharField(help_text="Where the room's members download it.")


class MessageSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    sender = serializers.CharField(allow_null=True, help_text="A user name.")
    created = serializers.DateTimeField()
    text = serializers.CharField()
    mentions = serializers.ListField(child=serializers.CharField())
    files = AttachedSerializer(many=True)


class HistorySerializer(serializers.Serializer):
    messages = MessageSerializer(many=True, help_text="In their order.")
    last = serializers.IntegerField(help_text="Number of the room's newest message.")


class HistoryQuery(serializers.Serializer):
    before = number(required=False, help_text="Those with a lower number, the last of them.")
    after = number(required=False, help_text="Those with a higher number, the first of them.")
    limit = serializers.IntegerField(min_value=1, max_value=MAX_MESSAGES, default=services.PAGE)

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        if {"before", "after"} <= asked.keys():
            raise serializers.ValidationError("Ask for what is before, or for what is after.")
        return asked


class NewMessageSerializer(serializers.Serializer):
    text = serializers.CharField(max_length=services.MAX_TEXT, allow_blank=True, default="")
    files = serializers.ListField(
        child=serializers.UUIDField(),
        max_length=attachments.AT_ONCE,
        default=list,
        help_text="Ids of files of yours.",
    )
    key = serializers.UUIDField(
        required=False, help_text="Your own: what is sent again with it is saved once."
    )


class ReadSerializer(serializers.Serializer):
    number = number(help_text="Up to this message all was read.")


# Of those who made the room, and of owners.
MANAGING = ("partial_update", "archive", "invite", "take_out")


class RoomViewSet(Api):
    queryset = Room.objects.none()
    serializer_class = RoomSerializer
    lookup_field = "slug"
    lookup_value_converter = "slug"
    roles = {
        **dict.fromkeys(("create", "post", *MANAGING), Role.MEMBER),
        "others": Role.OWNER,
    }
    problems = {"create": [409], "invite": [409]}

    def list(self, request: Request) -> Response:
        """The rooms that you are in."""
        return self.page_of(services.memberships_of(request.user))

    def retrieve(self, request: Request, slug: str) -> Response:
        return self._room(slug)

    @extend_schema(request=NewRoomSerializer, responses={201: RoomSerializer})
    def create(self, request: Request) -> Response:
        """Make a room. You are its first member."""
        values = {"topic": "", "is_open": False, **self.sent(NewRoomSerializer)}
        room = async_to_sync(people.create)(request.user, values)
        return self._room(room.slug, status=201)

    @extend_schema(responses=OpenRoomSerializer(many=True))
    @action(detail=False, serializer_class=OpenRoomSerializer)
    def open(self, request: Request) -> Response:
        """Rooms that you may join."""
        return self.page_of(people.rooms_to_join(request.user).order_by("name", "pk"))

    @extend_schema(responses=ManagedRoomSerializer(many=True))
    @action(detail=False, serializer_class=ManagedRoomSerializer)
    def others(self, request: Request) -> Response:
        """Rooms that you are not in and may not join, but manage as an owner."""
        return self.page_of(people.rooms_by_invitation(request.user).order_by("name", "pk"))

    @extend_schema(request=NewRoomSerializer, responses=ManagedRoomSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        """Change its name or topic, open or close it. Its address stays as it is."""
        changes = self.sent(NewRoomSerializer, partial=True)
        room = async_to_sync(people.change)(request.user, slug, changes)
        return Response(ManagedRoomSerializer(room).data)

    @extend_schema(request=ArchivedSerializer, responses=ManagedRoomSerializer)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, slug: str) -> Response:
        """End the writing in it, or have it begin anew."""
        archived = self.sent(ArchivedSerializer)["archived"]
        room = async_to_sync(people.archive)(request.user, slug, archived=archived)
        return Response(ManagedRoomSerializer(room).data)

    @extend_schema(responses=RoomMemberSerializer(many=True))
    @action(detail=True, serializer_class=RoomMemberSerializer)
    def members(self, request: Request, slug: str) -> Response:
        """Who is in it, by user name."""
        _, members = async_to_sync(people.members_of)(request.user, slug)
        return self.page_of(members)

    @extend_schema(request=InvitationSerializer, responses={201: RoomMemberSerializer})
    @members.mapping.post
    def invite(self, request: Request, slug: str) -> Response:
        """Add somebody, who is told."""
        name = self.sent(InvitationSerializer)["username"]
        member = async_to_sync(people.invite)(request.user, slug, name)
        return Response(RoomMemberSerializer(member).data, status=201)

    @extend_schema(
        parameters=[OpenApiParameter("member", int, OpenApiParameter.PATH)],
        responses={204: None},
    )
    @action(detail=True, methods=["delete"], url_path="members/<id:member>")
    def take_out(self, request: Request, slug: str, member: int) -> Response:
        """Take somebody out, by the id among the members. Who is out already stays out."""
        async_to_sync(people.remove)(request.user, slug, member)
        return Response(status=204)

    @extend_schema(request=None, responses=RoomSerializer)
    @action(detail=True, methods=["post"])
    def join(self, request: Request, slug: str) -> Response:
        """Become a member of an open room."""
        async_to_sync(people.join)(request.user, slug)
        return self._room(slug)

    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["post"])
    def leave(self, request: Request, slug: str) -> Response:
        """Be no member any more."""
        async_to_sync(people.leave)(request.user, slug)
        return Response(status=204)

    @extend_schema(parameters=[HistoryQuery], responses=HistorySerializer)
    @action(detail=True, pagination_class=None)
    def messages(self, request: Request, slug: str) -> Response:
        """The newest messages, or those next to a number. Nothing counts as read by it."""
        member = self._member(slug)
        found = onloop.rooms.history(log_of(slug), **self.asked(HistoryQuery))
        return Response({"messages": _told(slug, found), "last": member.last})

    @extend_schema(request=NewMessageSerializer, responses={201: MessageSerializer})
    @messages.mapping.post
    def post(self, request: Request, slug: str) -> Response:
        """Say something, with files of yours."""
        member = self._member(slug)
        values = self.sent(NewMessageSerializer)
        draft = services.clean(values["text"], [str(each) for each in values["files"]])
        key = str(values["key"]) if "key" in values else None
        message = async_to_sync(services.post)(member, draft, key)
        return Response(_told(slug, [message])[0], status=201)

    @extend_schema(request=ReadSerializer, responses=RoomSerializer)
    @action(detail=True, methods=["post"])
    def read(self, request: Request, slug: str) -> Response:
        """Say how far you have read."""
        member = self._member(slug)
        seen = min(self.sent(ReadSerializer)["number"], member.last)
        async_to_sync(services.mark_read)(member, seen)
        return self._room(slug)

    def _member(self, slug: str) -> Membership:
        return async_to_sync(services.membership)(self.request.user, slug)

    def _room(self, slug: str, status: int = 200) -> Response:
        return Response(RoomSerializer(self._member(slug)).data, status=status)


def _told(slug: str, messages: list[Message]) -> list[dict[str, Any]]:
    bodies = async_to_sync(attachments.describe)([message.body for message in messages])
    shown = [
        {
            "number": message.number,
            "sender": message.sender and message.sender.get_username(),
            "created": message.created,
            "text": body["text"],
            "mentions": body.get("mentions", []),
            "files": [
                {**file, "url": reverse("attached", args=[slug, file["id"]])}
                for file in body.get("files", ())
            ],
        }
        for message, body in zip(messages, bodies, strict=True)
    ]
    return MessageSerializer(shown, many=True).data
