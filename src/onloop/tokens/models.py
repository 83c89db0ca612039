"""The model of a bearer token: whose it is, until when, and the hash of its secret.

Everything synchronous here has an `a` twin, which runs it in a bridge on the loop.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, models, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables

from onloop import bridge
from onloop.tokens import text as form
from onloop.tokens.tickets import Ticket

__all__ = ["Ticket", "Token"]

# How much older than that `last_used` is written anew.
LAST_USED_EVERY = timedelta(minutes=1)

# Compared with where there is no such token. No secret has it.
NO_HASH = "0" * 64

logger = logging.getLogger("onloop.tokens")


class TokenQuerySet(models.QuerySet["Token"]):
    def revoke(self) -> int:
        """Revoke those that are not revoked yet; return how many that were."""
        return self.filter(revoked=None).update(revoked=timezone.now())

    async def arevoke(self) -> int:
        return await bridge.run(self.revoke)


class TokenManager(models.Manager.from_queryset(TokenQuerySet)):  # type: ignore[misc] # made at run time
    @sensitive_variables()
    def authenticate(self, text: str) -> Token | None:
        """The token that `text` is, with its user; None unless it may be used.

        It may not if it is unknown, revoked or expired, or its user is not active. Writes
        `last_used`, at most once a minute. A wrong secret and an unknown id cost the same: one
        query, one hash, one comparison in constant time.
        """
        parts = form.split(text)
        if parts is None:
            return None
        token: Token | None = (
            self.select_related("user").filter(public_id=parts.public_id).first()
        )
        wanted = NO_HASH if token is None else token.secret_hash
        right = constant_time_compare(form.hash_of(parts.secret), wanted)
        if token is None or not right:
            logger.info(
                "Token %s was refused: %s.",
                form.PREFIX + parts.public_id,
                "unknown" if token is None else "wrong secret",
            )
            return None
        if token.state != "valid":
            logger.info("Token %s was refused: %s.", token.visible_id, token.state)
            return None
        token._note_use()
        return token

    @sensitive_variables()
    async def aauthenticate(self, text: str) -> Token | None:
        # As an argument, the text would be in the bridge's own frames, which reports of errors
        # show.
        @sensitive_variables()
        def authenticate() -> Token | None:
            return self.authenticate(text)

        return await bridge.run(authenticate)


class Token(models.Model):
    """A bearer token of a user.

    Stored is SHA-256 of the secret and not a slow hash as of passwords: the secret is 256
    random bits, which no list of likely ones has and nobody can search. Who reads the table
    cannot use the tokens.
    """

    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="bearer_tokens"
    )
    name: models.CharField[str, str] = models.CharField(
        max_length=100, help_text="What the token is for."
    )
    public_id: models.CharField[str, str] = models.CharField(
        max_length=form.PUBLIC_ID_LENGTH, unique=True, editable=False
    )
    secret_hash: models.CharField[str, str] = models.CharField(max_length=64, editable=False)
    created: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        default=timezone.now, editable=False
    )
    expires: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    last_used: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True, editable=False
    )
    revoked: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True, editable=False
    )

    objects = TokenManager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.visible_id})"

    @classmethod
    def issue(
        cls, user: Any, *, name: str, expires: datetime | timedelta | None = None
    ) -> tuple[Token, str]:
        """Make a token for `user`; return it and its text, which is told only now.

        `name` says what it is for, in at most 100 printable characters. `expires`: the time, or
        the time from now; None: never. Raises `ValueError` for a name or a time that cannot be,
        and `TypeError` for what is no time.
        """
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise ValueError("The name of a token must be 1 to 100 printable characters.")
        parts = form.make()
        token: Token = cls.objects.create(
            user=user,
            name=name,
            public_id=parts.public_id,
            secret_hash=form.hash_of(parts.secret),
            expires=_moment(expires),
        )
        return token, parts.text

    @classmethod
    async def aissue(
        cls, user: Any, *, name: str, expires: datetime | timedelta | None = None
    ) -> tuple[Token, str]:
        return await bridge.run(cls.issue, user, name=name, expires=expires)

    def revoke(self) -> bool:
        """Refuse it from now on; False if it was revoked before."""
        now = timezone.now()
        if type(self).objects.filter(pk=self.pk, revoked=None).update(revoked=now):
            self.revoked = now
            return True
        self.refresh_from_db(fields=["revoked"])
        return False

    async def arevoke(self) -> bool:
        return await bridge.run(self.revoke)

    @property
    def visible_id(self) -> str:
        """The beginning of the token's text, which is no secret: `onl_` and the public id."""
        return form.PREFIX + self.public_id

    @property
    def state(self) -> str:
        """ "valid", "revoked", "expired" or "inactive user"."""
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and self.expires <= timezone.now():
            return "expired"
        return "valid" if getattr(self.user, "is_active", True) else "inactive user"

    def _note_use(self) -> None:
        now = timezone.now()
        due = now - LAST_USED_EVERY
        if self.last_used is not None and self.last_used >= due:
            return
        tokens = type(self).objects.filter(pk=self.pk)
        try:
            # Of requests that come at once, the condition lets one write.
            written = tokens.filter(Q(last_used=None) | Q(last_used__lt=due)).update(
                last_used=now
            )
        except DatabaseError:
            if transaction.get_connection(router.db_for_write(type(self))).in_atomic_block:
                raise  # the transaction is lost
            # A locked file, a server that only reads: nobody is refused for that.
            logger.warning("The use of %s was not noted.", self.visible_id, exc_info=True)
        else:
            if written:
                self.last_used = now


def _moment(expires: datetime | timedelta | None) -> datetime | None:
    if expires is None:
        return None
    now = timezone.now()
    if isinstance(expires, timedelta):
        try:
            expires = now + expires
        except OverflowError:
            raise ValueError("The token would expire after the year 9999.") from None
    if not isinstance(expires, datetime):
        raise TypeError(f"`expires` must be a datetime, a timedelta or None, not {expires!r}.")
    if timezone.is_naive(expires) == settings.USE_TZ:
        kind = "an aware" if settings.USE_TZ else "a naive"
        raise ValueError(f"`expires` must be {kind} datetime, as USE_TZ says, or a timedelta.")
    if expires <= now:
        raise ValueError("The token would have expired already.")
    return expires
