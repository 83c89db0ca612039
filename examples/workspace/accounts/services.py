"""Changes to accounts. No HTTP in here: what goes wrong is told by the errors below."""

import datetime
import logging
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

import onloop.rooms
import rooms.services
from accounts.models import Profile, Role
from accounts.roles import require
from notices.models import Notice
from notices.services import inbox_of, notify
from notices.sessions import KIND as SESSION
from onloop import bridge
from onloop.rooms.errors import AnnounceFailed
from onloop.tokens.models import Token
from rooms.naming import log_of

logger = logging.getLogger(__name__)

MAX_TOKENS = 50
TAKEN = "A user with that username already exists."


class Refused(Exception):
    """Its text is for whoever asked."""


class SignUpClosed(Refused):
    pass


class UsernameTaken(Refused):
    pass


class UnknownUser(Exception):
    pass


class LastOwner(Refused):
    pass


class NotChangedHere(Refused):
    """The role of a superuser is not one of ours."""


class TooManyTokens(Refused):
    pass


class TokenNameTaken(Refused):
    """By a valid token: whoever revokes one has to know which, and a form that is sent again,
    by reloading its page, issues no second."""


async def sign_up(user: Any) -> Any:
    """Save a new account, whose password is set already, with its profile and its rooms.

    The password is hashed before: that takes long, and in here SQLite's one writer would wait
    for it. Raises ``SignUpClosed`` or ``UsernameTaken``.
    """
    if not settings.SIGN_UP:
        raise SignUpClosed("Sign-up is closed here. Ask an owner for an account.")
    users = get_user_model().objects
    try:
        async with transaction.atomic():
            # One after the other: the table's own rule has “Ada” and “ada” for two names.
            await _lock_names()
            if await users.filter(username__iexact=user.username).aexists():
                raise UsernameTaken(TAKEN)
            await user.asave(force_insert=True)
            await Profile.objects.acreate(user=user, role=settings.SIGN_UP_ROLE)
            await rooms.services.welcome(user)
            await notify(
                [user],
                Notice.Kind.ACCOUNT,
                "Welcome! Tell the others what you do, in your profile.",
                reverse("profile"),
            )
    except IntegrityError:
        # Somebody was quicker by another way, the admin say.
        if await users.filter(username=user.username).aexists():
            raise UsernameTaken(TAKEN) from None
        raise
    return user


async def _lock_names() -> None:
    """Until the transaction ends nobody else signs up."""
    model = get_user_model()
    kind = await bridge.run(ContentType.objects.get_for_model, model)
    await ContentType.objects.select_for_update(no_key=True).aget(pk=kind.pk)


async def change_profile(user: Any, *, first_name: str, last_name: str, about: str) -> None:
    """An account without a profile gets one, in the role that it counts as having."""
    async with transaction.atomic():
        user.first_name, user.last_name = first_name, last_name
        await user.asave(update_fields=["first_name", "last_name"])
        await Profile.objects.aupdate_or_create(user=user, defaults={"about": about})


async def change_role(by: Any, pk: int, role: Role) -> Any:
    """Give the user with the id ``pk`` a role; returns them. For owners.

    All owners are locked, in one order: of two who take the role from each other at once, the
    second waits for the first, and is none any more. Raises ``PermissionDenied``,
    ``UnknownUser``, ``NotChangedHere`` or ``LastOwner``.
    """
    users = get_user_model().objects
    async with transaction.atomic():
        user = await users.filter(pk=pk, is_active=True).afirst()
        if user is None:
            raise UnknownUser
        await Profile.objects.aget_or_create(user=user)
        concerned = Q(role=Role.OWNER) | Q(user=user)
        locked = Profile.objects.select_for_update().filter(concerned).order_by("pk")
        profiles = {profile.user_id: profile async for profile in locked}
        require(await users.select_related("profile").aget(pk=by.pk), Role.OWNER)
        if user.is_superuser:
            raise NotChangedHere(f"{user} is a superuser, and so an owner always.")
        profile = profiles[user.pk]
        if profile.role == role:
            return user
        if profile.role == Role.OWNER and not await _other_owners(user).aexists():
            raise LastOwner(f"{user} is the last owner. Make somebody else one first.")
        profile.role = role
        await profile.asave(update_fields=["role"])
        text = f"{by.get_username()} changed your role to “{role.label}”."
        await notify([user], Notice.Kind.ACCOUNT, text, reverse("profile"))
        transaction.on_commit(partial(_tell, user.pk, role))
    return user


def end_sockets(user: int) -> None:
    """Close all that the user has open, wherever."""
    try:
        onloop.rooms.announce(inbox_of(user), "closed")
    except AnnounceFailed:
        logger.warning("The sockets of user %s stay open.", user)
        return
    for slug in rooms.services.rooms_of(user):
        rooms.services.send_away(slug, user)


def end_session(user: int, mark: str) -> None:
    """Close what is open in one of the user's sessions."""
    _tell_sessions(user, ended=mark)


def end_other_sessions(user: int, *, kept: str, now: str) -> None:
    """Close what is open in all sessions but the one that had the mark ``kept``."""
    _tell_sessions(user, ended=None, kept=kept, now=now)


def _tell_sessions(user: int, **marks: str | None) -> None:
    logs = [log_of(slug) for slug in rooms.services.rooms_of(user)]
    try:
        onloop.rooms.announce([inbox_of(user), *logs], SESSION, user=user, **marks)
    except AnnounceFailed:
        logger.warning("Sockets of user %s outlive their session.", user)


def valid_tokens(user: Any) -> QuerySet[Token]:
    unexpired = Q(expires=None) | Q(expires__gt=timezone.now())
    return user.bearer_tokens.filter(unexpired, revoked=None)


async def issue_token(
    user: Any, name: str, expires: datetime.timedelta | None
) -> tuple[Token, str]:
    """A bearer token and its text, which is told only now.

    Raises ``TooManyTokens`` or ``TokenNameTaken``.
    """
    async with transaction.atomic():
        # Of two at once the second counts the first.
        await get_user_model().objects.select_for_update(no_key=True).aget(pk=user.pk)
        names = [token.name async for token in valid_tokens(user)]
        if name in names:
            raise TokenNameTaken(
                f"You have a token for “{name}”. Revoke it first, or choose another name."
            )
        if len(names) >= MAX_TOKENS:
            raise TooManyTokens(f"You have {MAX_TOKENS} tokens. Revoke one of them first.")
        return await Token.aissue(user, name=name, expires=expires)


async def revoke_token(user: Any, pk: int) -> Token | None:
    """None where the user has no such token; one that was revoked before stays so."""
    token = await user.bearer_tokens.filter(pk=pk).afirst()
    if token is not None:
        await token.arevoke()
    return token


def _other_owners(user: Any) -> QuerySet[Any]:
    owners = Q(is_superuser=True) | Q(profile__role=Role.OWNER)
    return get_user_model().objects.filter(owners, is_active=True).exclude(pk=user.pk)


async def _tell(user: int, role: Role) -> None:
    """Sockets that are open ask anew what the user may do."""
    try:
        await onloop.rooms.aannounce(inbox_of(user), "role", role=role.value, label=role.label)
        await rooms.services.tell_role(user)
    except AnnounceFailed:
        logger.warning("Sockets of user %s hear late of their role.", user)
