"""What the start page shows of each app to whoever is logged in."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import basket.services
import catalogue.services
import files.serving
import jobs.services
import notices.services
import rooms.services
from accounts.models import Role
from accounts.roles import has_role

ROWS = 5


async def shown_to(user: Any) -> dict[str, Any]:
    """All of it at once: outside a transaction each query has a connection of its own.

    Guests keep no files and start no jobs, so there is nothing of these for them.
    """
    is_member = has_role(user, Role.MEMBER)
    parts: dict[str, Coroutine[Any, Any, Any]] = {
        "memberships": rooms.services.unread_first(user, ROWS),
        "notices": notices.services.newest(user, ROWS),
        "basket": basket.services.basket_of(user),
        "orders": catalogue.services.newest_of(user, ROWS),
    }
    if is_member:
        parts["works"] = jobs.services.under_way(user)
        parts["files"] = files.serving.newest(user, ROWS)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(part) for name, part in parts.items()}
    except ExceptionGroup as errors:
        # What a single query would have raised: a database that is away is answered by 503.
        raise errors.exceptions[0] from errors
    return {name: task.result() for name, task in tasks.items()}
