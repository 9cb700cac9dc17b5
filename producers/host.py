"""What this machine knows of itself: its name, its time zone, when it started."""

from __future__ import annotations

import socket
import time
from datetime import datetime, timedelta, tzinfo


def hostname() -> str:
    return socket.gethostname()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def boot_ms() -> int:
    """When the kernel's log clock was zero; taken anew it follows corrections of the wall clock."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) // 1_000_000


class MachineTimezone(tzinfo):
    """The machine's time zone, with the offset that it had at each time."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "local"
