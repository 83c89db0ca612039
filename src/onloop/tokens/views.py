"""A view that gives tickets to users who are logged in: `path("ticket/", views.ticket)`."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase, JsonResponse
from django.views import View

from onloop import conf
from onloop.tokens.models import Ticket


class TicketView(View):
    """POST: a ticket, `{"ticket": …, "expires_in": seconds}`; 401 without a user."""

    async def post(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = await request.auser()
        if not user.is_authenticated:
            return JsonResponse({"detail": "A user is needed."}, status=401)
        issued = {
            "ticket": await Ticket.objects.aissue(user),
            "expires_in": conf.get().SOCKET_TICKET_LIFETIME,
        }
        return JsonResponse(issued, headers={"Cache-Control": "no-store"})


ticket = TicketView.as_view()
