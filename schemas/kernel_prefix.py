"""What stands before the message in a log line: when, on which node, said by whom.

One function, `read_prefix`, knows every framing that kernel and Fabric Manager messages arrive in: records of
/dev/kmsg, the time formats of dmesg, journald and syslog lines, Fabric Manager's own log, or nothing at all.
A framing that is not known costs only its time and node: the text is still returned, whole.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LEAP_YEARS_APART_MAX = 8  # round a century that is no leap year: how far back a 29 February may lie
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Prefix(NamedTuple):
    """A line without its framing.

    ts: ms since the epoch, None if the line does not say or not all that is needed to tell is known.
    quoted: a program other than the kernel or Fabric Manager wrote the line, so that a fault in the middle of
        it is likely to be a report of one that stands elsewhere.
    assumed_timezone, assumed_year: `ts` rests on the clock's time zone, or year.
    """

    text: str
    ts: int | None = None
    node: str | None = None
    quoted: bool = False
    assumed_timezone: bool = False
    assumed_year: bool = False


class Clock(NamedTuple):
    """What must be known from elsewhere to place log times. Without it such times are None, never guessed.

    boot_ms: when the machine started, for times since boot. now_ms: for times without a year, which then lie
    in the newest year that is not in the future.
    """

    boot_ms: int | None = None
    timezone: tzinfo = UTC
    now_ms: int | None = None


_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FRACTION = r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
_MONTH_DAY = r"(?P<month>[A-Z][a-z]{2}) {1,2}(?P<day>[0-9]{1,2})"

_KMSG = re.compile(r"(?P<priority>[0-9]{1,6}),[0-9]{1,20},(?P<usec>[0-9]{1,18}),[^;\s]{0,200};")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")
_LEVEL = r"(?:<[0-9]{1,3}>|[a-z]+ *:[a-z]+ *: )?"  # of `dmesg --raw` and of `dmesg --decode`
_CALLER = r"(?:\[ {0,12}[TC][0-9]{1,10}\] ?)?"  # of kernels that print the calling thread
_SINCE_BOOT = re.compile(rf"{_LEVEL}\[ {{0,12}}(?P<seconds>[0-9]{{1,10}})\.(?P<fraction>[0-9]{{1,9}})\] ?{_CALLER}")
_CTIME = re.compile(rf"{_LEVEL}\[[A-Z][a-z]{{2}} {_MONTH_DAY} {_TIME} (?P<year>[0-9]{{4}})\] ?{_CALLER}")
_FABRIC_MANAGER = re.compile(rf"\[{_MONTH_DAY} (?P<year>[0-9]{{4}}) {_TIME}\] (?:\[[A-Za-z]+\] )?(?:\[tid [0-9]+\] )?")
_ISO = re.compile(
    rf"{_LEVEL}(?P<year>[0-9]{{4}})-(?P<month>[0-9]{{2}})-(?P<day>[0-9]{{2}})T{_TIME}{_FRACTION}"
    rf"(?P<zone>Z|[+-][0-9]{{2}}:?[0-9]{{2}})? {_CALLER}"
)
_SYSLOG = re.compile(rf"(?:<[0-9]{{1,3}}>)?{_MONTH_DAY} {_TIME}{_FRACTION} ")
_HOST_AND_PROGRAM = re.compile(r"(?P<host>\S*[^\s:]) (?P<program>[^\s:\[\]]+)(?:\[[0-9]+\])?: ?")

_KERNEL_FACILITY = 0
_TRUSTED_PROGRAMS = frozenset({"kernel", "nv-fabricmanager", "nvidia-fabricmanager", "fabricmanager"})


def read_prefix(line: str, clock: Clock) -> Prefix:
    """Split a line into its framing and its text. Never raises; takes time linear in the line."""
    if match := _KMSG.match(line):
        text = _ESCAPED.sub(_unescape, line[match.end() :])
        quoted = int(match["priority"]) >> 3 != _KERNEL_FACILITY
        return Prefix(text, _since_boot(int(match["usec"]) // 1000, clock), quoted=quoted)
    if match := _SINCE_BOOT.match(line):
        since_boot_ms = int(match["seconds"]) * 1000 + _milliseconds(match["fraction"])
        prefix = Prefix(line[match.end() :], _since_boot(since_boot_ms, clock))
        return _strip_host(prefix, only_kernel=True)
    if match := _CTIME.match(line) or _FABRIC_MANAGER.match(line):
        return Prefix(line[match.end() :], _civil(match, clock), assumed_timezone=True)
    if match := _ISO.match(line):
        assumed = match["zone"] is None
        prefix = Prefix(line[match.end() :], _civil(match, clock), assumed_timezone=assumed)
        by_dmesg = line[match.end("second")] == ","  # which names no host
        return prefix if by_dmesg else _strip_host(prefix)
    if match := _SYSLOG.match(line):
        ts = _newest_year(match, clock)
        return _strip_host(Prefix(line[match.end() :], ts, assumed_timezone=True, assumed_year=True))
    return Prefix(line)


def _strip_host(prefix: Prefix, *, only_kernel: bool = False) -> Prefix:
    """Take `host program: ` off the text, and the time since boot that may follow it."""
    match = _HOST_AND_PROGRAM.match(prefix.text)
    if match is None or (only_kernel and match["program"] != "kernel"):
        return prefix
    # rsyslog writes the line ends inside a message as #012
    text = prefix.text[match.end() :].replace("#012", "\n")
    if inner := _SINCE_BOOT.match(text):
        text = text[inner.end() :]
    quoted = match["program"] not in _TRUSTED_PROGRAMS
    return prefix._replace(text=text, node=match["host"], quoted=quoted)


def _unescape(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("\\x", "")).decode("utf-8", "backslashreplace")


def _since_boot(since_boot_ms: int, clock: Clock) -> int | None:
    return None if clock.boot_ms is None else clock.boot_ms + since_boot_ms


def _milliseconds(fraction: str | None) -> int:
    return int((fraction or "")[:3].ljust(3, "0"))


def _civil(match: re.Match[str], clock: Clock, year: int | None = None) -> int | None:
    """The moment that a date and time of day name; None if there is no such day."""
    fields = match.groupdict()
    month = fields["month"]
    try:
        moment = datetime(
            int(fields["year"]) if year is None else year,
            MONTHS.index(month) + 1 if month.isalpha() else int(month),
            int(fields["day"]),
            int(fields["hour"]),
            int(fields["minute"]),
            int(fields["second"]),
            tzinfo=_zone(fields.get("zone"), clock),
        )
        return (moment - EPOCH) // MILLISECOND + _milliseconds(fields.get("fraction"))
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None, clock: Clock) -> tzinfo:
    if text is None:
        return clock.timezone
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _newest_year(match: re.Match[str], clock: Clock) -> int | None:
    if clock.now_ms is None:
        return None
    this_year = 1970 + clock.now_ms // 31_556_952_000  # mean length of a year: off by one at its ends
    for year in range(this_year + 1, this_year - LEAP_YEARS_APART_MAX - 2, -1):
        ts = _civil(match, clock, year)
        if ts is not None and ts <= clock.now_ms:
            return ts
    return None
