"""One line of `journalctl --output=json`: an entry of the journal, and the kernel's message in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

IDENTIFIER = "kernel"  # programs that write to /dev/kmsg have names of their own
# The kernel's log has a clock of its own, which strays from the others by so much at most.
STRAY = 1e-4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Entry(NamedTuple):
    """cursor: its place in the journal. ts: when the kernel said it. lines: as `dmesg --time-format=iso` shows them;
    none where another program said it.
    """

    cursor: str
    ts: int
    lines: list[bytes]


class _Line(msgspec.Struct):
    """As journalctl writes it: all numbers are texts; what is not UTF-8 is an array of bytes; several values are an
    array of them, none is null.
    """

    cursor: str = msgspec.field(name="__CURSOR")
    realtime_us: str = msgspec.field(name="__REALTIME_TIMESTAMP")
    monotonic_us: str = msgspec.field(name="__MONOTONIC_TIMESTAMP", default="0")
    said_us: str | list[str] | None = msgspec.field(name="_SOURCE_MONOTONIC_TIMESTAMP", default=None)
    identifier: str | list[str] | None = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)
    message: str | list[int | str] | None = msgspec.field(name="MESSAGE", default=None)


_decode = msgspec.json.Decoder(_Line).decode


def read_entry(line: bytes) -> Entry | None:
    """None: that is no entry."""
    try:
        found = _decode(line)
        us = _said_us(int(found.realtime_us), int(found.monotonic_us), found.said_us)
        moment, message = EPOCH + us * MICROSECOND, _message(found.message)
    except (ValueError, OverflowError):
        return None
    # With a comma, as dmesg writes it: what follows is the message, and no host and program.
    prefix = moment.isoformat(timespec="microseconds").replace(".", ",").encode()
    ours = found.identifier in (IDENTIFIER, None)
    return Entry(found.cursor, us // 1000, [prefix + b" " + text + b"\n" for text in message.split(b"\n") if ours])


def _said_us(written_us: int, uptime_us: int, said: object) -> int:
    """When it was said; it may have waited to be written, as what the kernel says before there is a journal has."""
    if not isinstance(said, str):
        return written_us
    waited_us = uptime_us - int(said)
    return written_us - waited_us if waited_us > STRAY * uptime_us else written_us


def _message(value: str | list[int | str] | None) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    if value and isinstance(value[0], str):
        return value[0].encode("utf-8", "backslashreplace")
    return bytes(each for each in value or () if isinstance(each, int))
