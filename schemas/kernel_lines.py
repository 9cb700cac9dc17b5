"""Log lines of NVIDIA's kernel drivers and of Fabric Manager in, events out.

`LineReader` takes the framing off each line (`schemas.kernel_prefix`), reads the message
(`schemas.kernel_message`), and joins the lines that tell of one fault. It is pure: who reads files, what time
it is and when the machine started is the caller's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, tzinfo
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from schemas.kernel_message import KernelEvent, canonical_bdf, parse_message
from schemas.kernel_prefix import Clock, Prefix, read_prefix

__all__ = ["KernelEvent", "LineReader", "canonical_bdf", "decode", "parse_message"]

LINE_CHARS_MAX = 8192  # a kernel record is shorter; what a longer line holds beyond is not kept
HEAD_CHARS_MAX = 512  # no framing is longer: what stands further before a fault is not part of its line
FAULT_SPAN_MS = 5_000
FAULT_SPAN_RECORDS = 64
FAULT_LINES_MAX = 8
OPEN_FAULTS_MAX = 64
PROBE_SPAN_RECORDS = 16
OPEN_PROBES_MAX = 8

# Where a fault begins in a line that several writers glued together, a time since boot included.
_START = re.compile(
    r"(?:\[ {0,12}[0-9]{1,10}\.[0-9]{1,9}\] ?)?"
    r"(?:NVRM: (?:Xid|GPU |The NVIDIA GPU )|(?:nvidia-nvswitch[0-9]{1,4}: )?SXid \(|detected NVSwitch )"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")  # `dmesg --color=always`
_DICTIONARY = re.compile(r" [A-Z][A-Z0-9_]*=")  # the lines that follow the text of a /dev/kmsg record
_CUT_CODE = re.compile(r"Xid \([^)]{0,60}\): [0-9]{1,6}$")  # if another line cuts in: 7, or the head of 79?
_SXID_DETAIL = re.compile(r"Severity [0-9]|Data \{")
_SWITCH_ERROR = re.compile(r"detected NVSwitch ")
# The loss of a GPU at probe time is told in up to three lines, and only the first says which GPU.
_PROBE_HEAD = re.compile(r"NVRM: The NVIDIA GPU (?!.*fallen off the bus)")
_PROBE_REST = re.compile(r"NVRM: (?!Xid|GPU |The NVIDIA GPU ).*(?:installed in this|fallen off the bus)")


def decode(data: bytes) -> str:
    """Bytes of a log as text. Never fails: what is not UTF-8 becomes `\\xNN`."""
    return data.decode("utf-8", "backslashreplace")


class LineReader:
    """A stream of log lines, read into events.

    boot_ms, timezone, now_ms: see `schemas.kernel_prefix.Clock`. They may be set anew between lines; `now_ms`
    should be, while following a log. assumed_timezone, assumed_year: the time of an event so far rests on
    `timezone`, or on the year that `now_ms` suggests.

    Guarantees: never raises; memory is bounded on any input; an event comes only from lines that hold the
    mark of a fault, and a broken line does not hide its neighbours. An Xid comes out with its line. The lines
    of an SXid (headline, severity, data, Fabric Manager's) are one event, which waits until no more can
    follow: call `flush` at the end, and while following a log whenever no line has come for a second.
    A line in which another program quotes a fault is no fault.
    """

    def __init__(self, *, boot_ms: int | None = None, timezone: tzinfo = UTC, now_ms: int | None = None) -> None:
        self.boot_ms = boot_ms
        self.timezone = timezone
        self.now_ms = now_ms
        self.assumed_timezone = False
        self.assumed_year = False
        self._record_number = 0
        self._faults: list[_Fault] = []  # SXids that wait for more lines, oldest first
        self._probes: list[_Probe] = []  # likewise

    def feed(self, line: str) -> list[KernelEvent]:
        """The events that `line` completes. It may end in a line end, and may hold several lines."""
        events: list[KernelEvent] = []
        for record in line.removesuffix("\n").split("\n"):
            self._record_number += 1
            events += self._close(lambda fault: self._record_number - fault.record_number > FAULT_SPAN_RECORDS)
            if "NVRM: " in record or "Xid" in record or "NVSwitch" in record:
                events += self._read(record)
        return events

    def flush(self) -> list[KernelEvent]:
        """The events that wait for more lines. The reader may be fed on."""
        return self._close(lambda fault: True)

    def _read(self, record: str) -> list[KernelEvent]:
        if _DICTIONARY.match(record):
            return []
        pieces = _split(_COLOUR.sub("", record).strip("\0\r\ufeff"))
        clock = Clock(self.boot_ms, self.timezone, self.now_ms)
        first = read_prefix(pieces[0], clock)
        if first.quoted:
            if not _START.match(first.text):
                return []
            del pieces[1:]
        events: list[KernelEvent] = []
        for number, piece in enumerate(pieces, 1):
            own = first if number == 1 else read_prefix(piece, clock)
            prefix = first._replace(text=own.text, ts=first.ts if own.ts is None else own.ts)
            for text in prefix.text.split("\n"):
                event = self._parse(text.strip(), prefix, piece)
                if event and number < len(pieces) and _CUT_CODE.search(text):
                    event = KernelEvent("unparsed", ts=event.ts, node=event.node, message=text, raw=piece)
                if event:
                    events += self._take(event, prefix)
        return events

    def _parse(self, text: str, prefix: Prefix, raw: str) -> KernelEvent | None:
        """The event of one message, or of the probe message that it completes."""
        raws: tuple[str, ...] = (raw,)
        probe = self._pop_probe(prefix.node) if _PROBE_REST.match(text) else None
        if probe:
            text = f"{probe.text}\n{text}"
            raws = probe.raws if raw is probe.raws[-1] else (*probe.raws, raw)
            prefix = probe.prefix
        event = parse_message(text)
        if event:
            return msgspec.structs.replace(event, ts=prefix.ts, node=prefix.node, raw="\n".join(raws), lines=len(raws))
        if probe or _PROBE_HEAD.match(text):
            begun = probe.record_number if probe else self._record_number
            kept = self._probes[-(OPEN_PROBES_MAX - 1) :]
            self._probes = [*kept, _Probe(text, prefix, raws, begun)]
        return None

    def _pop_probe(self, node: str | None) -> _Probe | None:
        """The newest probe message of this node that has no end yet."""
        oldest = self._record_number - PROBE_SPAN_RECORDS
        self._probes = [probe for probe in self._probes if probe.record_number >= oldest]
        for position in reversed(range(len(self._probes))):
            if self._probes[position].prefix.node == node:
                return self._probes.pop(position)
        return None

    def _take(self, event: KernelEvent, prefix: Prefix) -> list[KernelEvent]:
        """The events that come out when this one comes in."""
        closed: list[KernelEvent] = []
        if (ts := event.ts) is not None:
            self.assumed_timezone |= prefix.assumed_timezone
            self.assumed_year |= prefix.assumed_year
            closed = self._close(lambda fault: fault.event.ts is not None and ts - fault.event.ts > FAULT_SPAN_MS)
        if event.kind != "sxid":
            return [*closed, event]
        for fault in reversed(self._faults):
            if fault.takes(event):
                fault.add(event)
                return closed
        self._faults.append(_Fault(event, self._record_number))
        if len(self._faults) > OPEN_FAULTS_MAX:
            closed.append(self._faults.pop(0).event)
        return closed

    def _close(self, over: Callable[[_Fault], bool]) -> list[KernelEvent]:
        closed = [fault.event for fault in self._faults if over(fault)]
        if closed:
            self._faults = [fault for fault in self._faults if not over(fault)]
        return closed


class _Probe(NamedTuple):
    """The beginning of a message that may turn out to tell of a lost GPU."""

    text: str
    prefix: Prefix
    raws: tuple[str, ...]
    record_number: int


class _Fault:
    """An SXid whose lines are still coming in: kernel headline and details, and Fabric Manager's line."""

    def __init__(self, event: KernelEvent, record_number: int) -> None:
        self.event = event
        self.record_number = record_number
        self._parts = {_part(event)}

    def takes(self, other: KernelEvent) -> bool:
        """Whether `other` is one more line of this fault."""
        event, part = self.event, _part(other)
        if (other.bdf, other.code) != (event.bdf, event.code) or event.lines >= FAULT_LINES_MAX:
            return False
        if not (_agree(event.node, other.node) and _agree(event.link, other.link)):
            return False
        if event.ts is not None and other.ts is not None and abs(event.ts - other.ts) > FAULT_SPAN_MS:
            return False
        if part == "headline":
            return self._parts == {"switch-error"}
        return part == "detail" or part not in self._parts

    def add(self, other: KernelEvent) -> None:
        event = self.event
        self._parts.add(_part(other))
        self.event = msgspec.structs.replace(
            event,
            ts=other.ts if event.ts is None else event.ts,
            node=event.node or other.node,
            message=other.message if _part(other) == "headline" else event.message,
            severity=event.severity or other.severity,
            link=other.link if event.link is None else event.link,
            switch=other.switch if event.switch is None else event.switch,
            raw=f"{event.raw}\n{other.raw}",
            lines=event.lines + 1,
        )


def _part(event: KernelEvent) -> Literal["headline", "detail", "switch-error"]:
    if _SWITCH_ERROR.match(event.message):
        return "switch-error"
    return "detail" if _SXID_DETAIL.match(event.message) else "headline"


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other


def _split(line: str) -> list[str]:
    """A line, cut before each fault that is not its first; without garbage of any length before that."""
    starts = [match.start() for match in _START.finditer(line)]
    begin = starts[0] if starts and starts[0] > HEAD_CHARS_MAX else 0
    bounds = [begin, *starts[1:], len(line)]
    return [line[left : min(right, left + LINE_CHARS_MAX)] for left, right in pairwise(bounds)]
