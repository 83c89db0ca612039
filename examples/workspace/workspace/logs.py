"""What the log makes of a job that somebody has cancelled: no error, and no traceback."""

import asyncio
import logging


class CancelledIsNoError(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info and record.exc_info[0]
        if kind and issubclass(kind, asyncio.CancelledError):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True
