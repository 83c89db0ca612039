"""R12's application, broken on purpose: each of these is served in place of it."""

from contextlib import nullcontext
from types import SimpleNamespace

from onloop.asgi.admission import Admission
from onloop.db import pools
from tests.reliability import terms_site


async def careless(scope, receive, send):
    """Its lifespan ends without a look at requests, and closes no pool."""
    Admission.until_empty = lambda self, timeout_s: 0
    pools.drain_pools = lambda loop: None
    await terms_site.application(scope, receive, send)


async def torn(scope, receive, send):
    """What should be a transaction is none."""
    terms_site.transaction = SimpleNamespace(atomic=nullcontext)
    await terms_site.application(scope, receive, send)
