"""Connections of one event loop and one alias, lent in the order of asking."""

from __future__ import annotations

from onloop.db.pool.options import PoolOptions
from onloop.db.pool.parts import Driver, is_busy
from onloop.db.pool.pool import Pool

__all__ = ["Driver", "Pool", "PoolOptions", "is_busy"]
