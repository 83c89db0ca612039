"""The application of R8 and R11, broken on purpose: each is served in place of it."""

import dataclasses

import psycopg

from onloop.db import pools
from onloop.db.backends.postgresql.connection import LoopConnection
from onloop.db.pool import Pool
from tests.reliability import load_site

_put = Pool.put
_get = Pool.get
_kept = []


def _keeping(self, connection):
    """One connection never comes back."""
    if not _kept and len(self._waiting) > 20:
        _kept.append(connection)
    if connection not in _kept:
        _put(self, connection)


def _without_a_bound(self, *args, **kwargs):
    self.options = dataclasses.replace(self.options, max_waiting=0)
    return _get(self, *args, **kwargs)


async def boundless(scope, receive, send):
    """Everybody may wait for a connection, one of those is lost, and each takes 1 MB."""
    pools.DRAIN_S = 0.1
    Pool.put, Pool.get = _keeping, _without_a_bound
    hoard = b"x" * 1_000_000
    await load_site.application(scope, receive, send)
    del hoard


async def blocking(scope, receive, send):
    """The driver waits for its socket on the loop's thread."""
    LoopConnection.wait = psycopg.Connection.wait
    await load_site.application(scope, receive, send)
