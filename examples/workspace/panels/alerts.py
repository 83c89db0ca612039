"""Tells the owners that a service is left alone since it keeps failing, once an outage."""

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.db.models import Q, QuerySet

from accounts.models import Role
from notices.models import Notice
from notices.services import notify
from panels.upstreams import Upstream, health

logger = logging.getLogger(__name__)

# Those whose outage this process has told of.
_told: set[str] = set()


async def tell_of_outages() -> None:
    """To be called after the services were asked. Whoever looks at the panels gets them, also
    if nobody can be told."""
    down = {each.name: each for each in health() if each.state == "left alone"}
    _told.intersection_update(down)  # the others answer again
    for name in down.keys() - _told:
        _told.add(name)  # at once: the next request may come while this one waits
        try:
            await _tell(down[name])
        except DatabaseError as error:
            _told.discard(name)
            logger.warning("Nobody could be told that %r is left alone: %s", name, error)
        except BaseException:
            _told.discard(name)
            raise


async def _tell(upstream: Upstream) -> None:
    text = f"{upstream.title} has failed {upstream.failures} times in a row, and is left alone."
    prefix = f"{upstream.title} has failed "
    # Each process finds an outage by itself. Who has not read of the last is not told again.
    unread = Notice.objects.filter(
        kind=Notice.Kind.PANEL, text__startswith=prefix, read=None
    ).values("user")
    await notify(
        [each async for each in _owners().exclude(pk__in=unread)],
        Notice.Kind.PANEL,
        text,
        "/panels/",
    )


def _owners() -> QuerySet[Any]:
    owns = Q(is_superuser=True) | Q(profile__role=Role.OWNER)
    return get_user_model().objects.filter(owns, is_active=True)
