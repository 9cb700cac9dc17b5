"""Kernel lines in, kernel faults out: what every source of kernel lines does with them."""

from __future__ import annotations

from datetime import tzinfo

from producers.host import MachineTimezone, now_ms
from schemas import records
from schemas.counts import counted
from schemas.kernel_lines import KernelEvent, LineReader, decode

KIND = "kernel"
IDENTITIES_MAX = 65_536  # more than one log can rightly name; what lies beyond would only fill the memory
IDENTITY_MARK = b": GPU-"
MULTI_LINE_MARKS = (b"SXid", b"NVSwitch", b"The NVIDIA GPU")
MULTI_LINE_SPAN = 64  # lines


def fault_of(
    event: KernelEvent, *, ts: int, node: str, source: str, cluster: str, uuid: str = ""
) -> records.KernelFault:
    """`event` as this node's agent reports it. ts: of the event, or the best that is known instead."""
    return records.KernelFault(
        ts=ts,
        cluster=cluster,
        node=node,
        fault=event.kind,
        code=event.code,
        bdf=event.bdf or "",
        uuid=uuid,
        gi=event.gi,
        ci=event.ci,
        pid=event.pid,
        process=event.process or "",
        message=event.message,
        previous=event.previous,
        severity=event.severity or "",
        recovery_action=event.recovery_action,
        source=source,
        raw=event.raw,
    )


class KernelReader:
    """The lines of one log, read into faults with the best node, time and UUID that are known.

    node: where a line names no host. identities: UUIDs by (node, PCI address), as identity lines tell them.
    """

    def __init__(self, *, source: str, node: str, cluster: str, timezone: tzinfo | None = None) -> None:
        self.identities: dict[tuple[str, str], str] = {}
        self.untimed = 0  # faults whose time the log does not tell
        self._source = source
        self._node = node
        self._cluster = cluster
        self._machine_timezone = timezone is None
        self._lines = LineReader(timezone=timezone or MachineTimezone())
        self._last_mark = MULTI_LINE_SPAN

    @property
    def pending(self) -> bool:
        """A fault that is told in several lines may not be complete yet."""
        return self._last_mark < MULTI_LINE_SPAN

    @property
    def assumptions(self) -> str:
        """On what the times so far rest, beside the log."""
        said = []
        if self._lines.assumed_timezone:
            zone = "this machine's time zone" if self._machine_timezone else "the given time zone"
            said.append(f"times without a zone are read in {zone}")
        if self._lines.assumed_year:
            said.append("times without a year lie in the newest year that is not in the future")
        if self.untimed:
            said.append(
                f"{counted(self.untimed, 'fault without a time has', 'faults without a time have')} that of the file"
            )
        return "; ".join(said)

    def feed(self, line: bytes, *, otherwise_ms: int, boot_ms: int | None = None) -> list[records.KernelFault]:
        """The faults that `line` completes. otherwise_ms: the time of those that do not tell their own."""
        marked = any(mark in line for mark in MULTI_LINE_MARKS)
        self._last_mark = 0 if marked else self._last_mark + 1
        self._lines.boot_ms = boot_ms
        self._lines.now_ms = now_ms()
        return self._faults(self._lines.feed(decode(line)), otherwise_ms)

    def flush(self, *, otherwise_ms: int) -> list[records.KernelFault]:
        """The faults that wait for more lines."""
        self._last_mark = MULTI_LINE_SPAN
        return self._faults(self._lines.flush(), otherwise_ms)

    def _faults(self, events: list[KernelEvent], otherwise_ms: int) -> list[records.KernelFault]:
        faults = []
        for event in events:
            node = event.node or self._node
            place = (node, event.bdf or "")
            if event.kind == "identity":
                if place in self.identities or len(self.identities) < IDENTITIES_MAX:
                    self.identities[place] = event.uuid or ""
                continue
            self.untimed += event.ts is None
            faults.append(
                fault_of(
                    event,
                    ts=otherwise_ms if event.ts is None else event.ts,
                    node=node,
                    source=self._source,
                    cluster=self._cluster,
                    uuid=self.identities.get(place, ""),
                )
            )
        return faults
