"""Which pool a wrapper borrows from: that of its loop, alias and database name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import connections

from onloop.db import pools
from onloop.db.backends.options import pool_options
from onloop.db.pool import Driver, Pool
from onloop.db.scope import Scope, current_scope


class PooledWrapper:
    """Mixin for a `DatabaseWrapper`: its pool."""

    if TYPE_CHECKING:
        alias: str
        scope: Scope | None
        settings_dict: dict[str, Any]

    _pool_of_loop: Pool[Any] | None = None
    # What a pool must know about the driver's connections.
    pool_driver: Driver

    def can_pool(self) -> bool:
        return True

    @property
    def loop_pool(self) -> Pool[Any] | None:
        """The pool of this wrapper's loop; None in a plain thread."""
        if self.scope is None or not self.can_pool():
            return None
        pool = self._pool_of_loop
        if pool is None or pool.closed:
            name = str(self.settings_dict["NAME"])
            pool = pools.pool_for(self.scope.loop, self.alias, name, self._make_pool)
            self._pool_of_loop = pool
        return pool

    def _make_pool(self) -> tuple[Pool[Any], Callable[[], Any]]:
        pool: Pool[Any] = Pool(self.alias, pool_options(self), self.pool_driver)
        return pool, functools.partial(_open_spare, self.alias)

    def warm_pool(self) -> None:
        """Open the `min_size` connections of the pool of this wrapper's loop."""
        pool = self.loop_pool
        while pool is not None and pool.add(functools.partial(_open_spare, self.alias)):
            pass

    def close_pool(self) -> None:
        """Close this alias's pools of all loops, and one of Django's own; from any thread."""
        pools.close_pools(alias=self.alias)

    def pool_stats(self) -> dict[str, int]:
        """Return sizes and counters of the pool of this wrapper's loop; see `PoolStats`."""
        pool = self.loop_pool
        return {} if pool is None else pool.stats()


def _open_spare(alias: str) -> Any:
    """Open a connection for the reserve of the pool, as a wrapper of the calling task would."""
    wrapper: Any = connections.create_connection(alias)
    wrapper.enter_scope(current_scope())
    connection = wrapper._open()
    wrapper.connection = None
    return connection
