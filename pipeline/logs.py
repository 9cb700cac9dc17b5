"""What a process says of itself while it runs: lines on standard error, held back while a live view is shown."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

FORMATS = ("text", "json")
# What libraries say: aiokafka complains at each try, and who waits for it says it once.
LEVELS = {"aiokafka": logging.CRITICAL, "faust": logging.WARNING, "mode": logging.WARNING}


def for_service(format_: str) -> None:
    """From now on what is logged goes to standard error: a dated line, or an object of JSON for programs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine() if format_ == "json" else _DatedLine())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)


@contextmanager
def collected(live_view: bool, dated: bool = False) -> Iterator[deque[str]]:
    """What is logged: to standard error; under a live view, which it would tear, at the end, newest hundred lines.

    dated: for services; each line begins with the time and the level. Yields the lines that are held back.
    """
    kept: deque[str] = deque(maxlen=100)
    handler = _Kept(kept) if live_view else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_DatedLine() if dated else _Line())
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    try:
        yield kept
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for line in kept:
            print(line, file=sys.stderr)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return level + super().format(record)


class _DatedLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{at} {record.levelname.lower()} {super().format(record)}"


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class _Kept(logging.Handler):
    def __init__(self, kept: deque[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record))
