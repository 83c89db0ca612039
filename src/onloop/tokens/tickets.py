"""The model of a ticket: who has it may open one socket, soon, as its user.

For browsers, which cannot send a header with the handshake of a socket. A ticket is in the
address and so in logs; but by then it is used up.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from onloop import bridge, conf
from onloop.tokens import text as form


class TicketManager(models.Manager["Ticket"]):
    def issue(self, user: Any) -> str:
        """Make a ticket for `user` and return its text; only a hash of it is stored."""
        now = timezone.now()
        # Those that nobody used. Only the user's own, so that no two wait for each other.
        self.filter(user=user, expires__lte=now).delete()
        text = form.make_ticket()
        lifetime = timedelta(seconds=conf.get().SOCKET_TICKET_LIFETIME)
        self.create(user=user, hash=form.hash_of(text), expires=now + lifetime)
        return text

    @sensitive_variables()
    def use(self, text: str) -> Any:
        """Use a ticket up; return its user, None unless it was valid.

        Of those who use it at once, one has deleted the row, as the database counts.
        """
        if not form.is_ticket(text):
            return None
        # From where it was written, a moment ago: a replica may not have it yet.
        tickets = self.using(router.db_for_write(Ticket)).select_related("user")
        ticket = tickets.filter(hash=form.hash_of(text)).first()
        if ticket is None:
            return None
        deleted, _ = tickets.filter(pk=ticket.pk).delete()
        if not deleted or ticket.expires <= timezone.now():
            return None
        return ticket.user if getattr(ticket.user, "is_active", True) else None

    async def aissue(self, user: Any) -> str:
        return await bridge.run(self.issue, user)

    @sensitive_variables()
    async def ause(self, text: str) -> Any:
        @sensitive_variables()
        def use() -> Any:
            return self.use(text)

        return await bridge.run(use)


class Ticket(models.Model):
    """A ticket of a user. Its text has 256 bits of chance, as a token's secret."""

    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="socket_tickets"
    )
    hash: models.CharField[str, str] = models.CharField(
        max_length=64, unique=True, editable=False
    )
    expires: models.DateTimeField[datetime, datetime] = models.DateTimeField(editable=False)

    objects = TicketManager()

    class Meta:
        app_label = "onloop_tokens"

    def __str__(self) -> str:
        return f"ticket {self.pk}"
