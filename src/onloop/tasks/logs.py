"""What Django's log makes of a job that somebody has cancelled: no error, and no traceback."""

from __future__ import annotations

import asyncio
import logging

from onloop.tasks.framework import LOGGER


class CancelledIsNoError(logging.Filter):
    """Turns the line that says that such a job FAILED, as results do, into one of level INFO.

    Stands on the logger, so that it holds for all handlers of the project.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info and record.exc_info[1]
        # A soft time limit of Celery's is both, and an error.
        if not isinstance(exc, asyncio.CancelledError) or isinstance(exc, Exception):
            return True
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg = f"{record.msg} (cancelled)"
        return logging.getLogger(LOGGER).isEnabledFor(logging.INFO)


def install() -> None:
    """Put the filter on the logger; harmless when it is there."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(each, CancelledIsNoError) for each in logger.filters):
        logger.addFilter(CancelledIsNoError())
