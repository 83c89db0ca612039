"""What happens once per process: when serving begins and when it ends."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.db import DatabaseError, connection

from catalogue.models import Product

logger = logging.getLogger(__name__)


@asynccontextmanager
async def announce() -> AsyncIterator[None]:
    """Log the start, with a first query as proof of the database, and the stop."""
    started = time.monotonic()
    try:
        products = await Product.objects.acount()
    except DatabaseError as error:
        # Serving goes on: the admin's pages say more about a missing table than a dead process.
        logger.warning("Started, but the database does not answer as it should: %s", error)
    else:
        logger.info("Started on %s with %d products.", connection.display_name, products)
    try:
        yield
    finally:
        logger.info("Stopped after %.0f seconds.", time.monotonic() - started)
