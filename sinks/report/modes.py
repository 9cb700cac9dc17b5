"""The failure modes of the product specification (section 2), counted: when is it one occurrence, when two.

An occurrence is an episode: what a GPU shows of a mode within an hour of what it showed before is the same one.
Whole nodes that fall silent are one occurrence each. A silence that follows an Xid 79 is part of that hang.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sinks.report import poisson
from sinks.report.model import ModeCount
from sinks.report.window import DAY_MS, HOUR_MS, Window

GPUS = 1000  # what the specified frequencies are for
YEAR_DAYS = 365.25
EPISODE_MS = HOUR_MS
OFF_THE_BUS = 79


class Mode(NamedTuple):
    """signals: what its reasons are named for (a trailing * takes what begins so). levels: of the reasons that count.

    xids: codes. per_year: for 1,000 GPUs, None where the specification names no number. by_node: one a node.
    """

    name: str
    frequency: str
    per_year: float | None
    signals: tuple[str, ...] = ()
    xids: tuple[int, ...] = ()
    levels: tuple[str, ...] = ("warning", "critical", "evict")
    by_node: bool = False


MODES = (
    Mode("correctable ECC above threshold", "weekly", YEAR_DAYS / 7, ("correctable_ecc",)),
    Mode("uncorrectable ECC", "monthly", 12.0, ("uncorrectable_ecc",), (48,)),
    Mode("NVLink CRC errors", "weekly", YEAR_DAYS / 7, ("nvlink_*",)),
    Mode("thermal throttling", "daily", YEAR_DAYS, ("clocks", "thermal_violation")),
    Mode("hang (Xid 31, 79)", "monthly", 12.0, xids=(31, OFF_THE_BUS)),
    Mode("PCIe errors", "rare", None, ("pcie_*",)),
    Mode("complete failure", "quarterly", 4.0, ("presence", "gone"), levels=("evict",), by_node=True),
)
FAILURE = len(MODES) - 1


class Episodes:
    """Counts the modes. Memory: one time per mode and GPU that has ever shown it."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._latest: dict[tuple[int, str], int] = {}
        self._shown: dict[str, set[int]] = {}  # modes that a GPU's newest score shows
        self._by_xid: dict[int, list[int]] = {}
        self._by_signal: dict[str, list[int]] = {}
        self._off_bus: dict[str, int] = {}
        self.counts = [0] * len(MODES)
        for at, mode in enumerate(MODES):
            for code in mode.xids:
                self._by_xid.setdefault(code, []).append(at)

    def xid(self, key: str, code: int, ms: int) -> None:
        """One that is no repeat."""
        for at in self._by_xid.get(code, ()):
            self._occurs(at, key, ms)
        if code == OFF_THE_BUS:
            self._off_bus[key] = ms

    def score(self, key: str, node: str, reasons: Iterable[tuple[str, str]], ms: int) -> None:
        """reasons: (signal, level) of a GPU's new score; what the one before had shown, too, goes on."""
        now: set[int] = set()
        for signal, level in reasons:
            now.update(at for at in self._modes_of(signal) if level in MODES[at].levels)
        before = self._shown.get(key, set())
        for at in now | before:
            who = node if MODES[at].by_node else key
            if at in now and at not in before and not (at == FAILURE and self._hangs(key, ms)):
                self._occurs(at, who, ms)
            elif (at, who) in self._latest:
                self._latest[at, who] = ms
        if now:
            self._shown[key] = now
        else:
            self._shown.pop(key, None)

    def _hangs(self, key: str, ms: int) -> bool:
        return key in self._off_bus and abs(ms - self._off_bus[key]) <= EPISODE_MS

    def _occurs(self, at: int, who: str, ms: int) -> None:
        latest = self._latest.get((at, who))
        if (latest is None or abs(ms - latest) > EPISODE_MS) and self._window.has(ms):
            self.counts[at] += 1
        self._latest[at, who] = ms

    def _modes_of(self, signal: str) -> list[int]:
        if signal not in self._by_signal:
            self._by_signal[signal] = [at for at, mode in enumerate(MODES) if any(_is(signal, s) for s in mode.signals)]
        return self._by_signal[signal]


def judged(counts: Iterable[int], gpu_hours: float) -> list[ModeCount]:
    """The counts against what the specification expects of so many GPU-hours."""
    found = []
    for mode, count in zip(MODES, counts, strict=True):
        if mode.per_year is None:
            found.append(ModeCount(mode.name, mode.frequency, count, verdict="the specification names no number"))
            continue
        expected = mode.per_year * gpu_hours * HOUR_MS / DAY_MS / YEAR_DAYS / GPUS
        low, high = poisson.interval(expected)
        said = poisson.verdict(count, low, high) if gpu_hours else "no GPU was seen"
        found.append(ModeCount(mode.name, mode.frequency, count, expected, low, high, said))
    return found


def _is(signal: str, pattern: str) -> bool:
    return signal.startswith(pattern[:-1]) if pattern.endswith("*") else signal == pattern
