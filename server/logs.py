"""Structured logs on standard error: one JSON object a line with the request id. Ids only, never names or queries."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One line of JSON: time, level, logger, event, request_id, the fields given as `extra`, and where it failed.

    Of an exception only the type and the places are written: its text may quote what a user typed.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= {key: value for key, value in vars(record).items() if key not in STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["where"] = places(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in STANDARD)
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = f"{clock} {record.levelname:<7} {record.getMessage()} {extra}".rstrip()
        if record.exc_info and record.exc_info[0] is not None:
            text += f" {record.exc_info[0].__name__} at {' < '.join(places(record.exc_info[2]))}"
        return text


def places(tb: object) -> list[str]:
    """The innermost eight places of a traceback as file:line:function, without any source text or values."""
    frames = traceback.extract_tb(tb)  # type: ignore[arg-type]
    return [f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno}:{frame.name}" for frame in frames[-8:]][::-1]


def configure(level: str, style: Literal["json", "text"]) -> None:
    """Send all loggers to standard error in `style`; the libraries' own access lines stay silent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
    for noisy in ("asyncio", "pyhanko", "fontTools", "PIL", "pydicom"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
