"""What Django's QuerySet lacks in async code."""

from __future__ import annotations

from typing import Any

from onloop import bridge


async def alist(self: Any) -> list[Any]:
    """`QuerySet.alist()`: evaluate the QuerySet and return its objects as a list."""
    return await bridge.run(list, self)


# Not one of the methods that Django copies to managers: those have `manager_alist`.
alist.queryset_only = True  # type: ignore[attr-defined]


async def manager_alist(self: Any) -> list[Any]:
    """`Manager.alist()`: all objects of the manager as a list."""
    return await alist(self.get_queryset())
