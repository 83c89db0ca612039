"""How log lines look, and what the log makes of a job that somebody has cancelled."""

import asyncio
import json
import logging
from datetime import UTC, datetime


class CancelledIsNoError(logging.Filter):
    """No error, and no traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info and record.exc_info[0]
        if kind and issubclass(kind, asyncio.CancelledError):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs: a traceback is one string in it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if request_id := getattr(record, "request_id", ""):
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        # ASCII only: no character of a message can break a line, or a terminal.
        return json.dumps(line)
