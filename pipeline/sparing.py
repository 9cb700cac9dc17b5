"""Log lines at sane rates: what is said again within a minute is counted, not written."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from schemas.counts import counted

MINUTE_S = 60.0
KEPT_MAX = 256  # different lines
_NUMBER = re.compile(r"\d+")


class Sparing(logging.Handler):
    """Hands on to `handler` each line once a minute. Numbers make no other line of it: "3 of 7" is "4 of 7" again.

    How often a line came meanwhile is written with it the next time, or when its minute is over and another is logged.
    """

    def __init__(self, handler: logging.Handler, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._handler = handler
        self._clock = clock
        self._held: dict[tuple[str, int, str], _Held] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        key = record.name, record.levelno, _NUMBER.sub("0", record.getMessage())
        held = self._held.get(key)
        if held and now - held.since < MINUTE_S:
            held.count += 1
            held.newest = record
            return
        self._held.pop(key, None)
        self._release(now)
        self._held[key] = _Held(now)
        self._write(record, held.count if held else 0)

    def close(self) -> None:
        """Write what is counted."""
        while self._held:
            self._let_go()
        super().close()

    def _release(self, now: float) -> None:
        """Those whose minute is over, oldest first, and one where there are too many."""
        while self._held:
            oldest = next(iter(self._held.values()))
            if now - oldest.since < MINUTE_S and len(self._held) < KEPT_MAX:
                return
            self._let_go()

    def _let_go(self) -> None:
        held = self._held.pop(next(iter(self._held)))
        if held.newest:
            self._write(held.newest, held.count - 1)

    def _write(self, record: logging.LogRecord, more: int) -> None:
        if more:
            record = logging.makeLogRecord(record.__dict__)
            record.msg, record.args = f"{record.getMessage()} ({counted(more, 'time')} more within a minute)", ()
        self._handler.handle(record)


class _Held:
    """A line that was written `since`, and again `count` times since."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.newest: logging.LogRecord | None = None


def spare() -> None:
    """From now on the root logger's handlers are sparing."""
    root = logging.getLogger()
    root.handlers = [Sparing(handler) for handler in root.handlers]
