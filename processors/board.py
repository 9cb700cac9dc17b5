"""The scoreboard: what every signal finds of every GPU, and the score and condition that follow from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from processors.policy import Policy, unit
from processors.signal import Signal
from processors.state import Column, Table
from schemas.records import Reason
from schemas.states import Action, Condition, Level

Array = npt.NDArray[Any]

CONDITIONS = tuple(Condition)
ACTIONS = tuple(Action)
HARD, CORRUPTION = 1, 2  # bits of `fault`; the action's place in ACTIONS stands above them
_ACTION_SHIFT = 2
UNASSESSED = -1  # a GPU that has only just appeared

FINDING = {
    "level": Column("i1", fill=-1),
    "value": Column("f4"),  # seven digits are enough for people; what is judged is judged before
    "since": Column("i8"),
    "fault": Column("i2"),
}
VERDICT = {
    "score": Column("f8", fill=1.0),
    "held": Column("f8", fill=1.0),
    "better_since": Column("i8"),
    "worst_since": Column("f8", fill=1.0),  # the lowest score since then
    "condition": Column("i1", fill=UNASSESSED),
    "evidence": Column("i8"),
}


def fault_bits(action: Action | None, hard: bool, corruption: bool) -> int:
    """`action` None: decided by how low the score is."""
    number = 0 if action is None else ACTIONS.index(action)
    return (number << _ACTION_SHIFT) | (HARD if hard else 0) | (CORRUPTION if corruption else 0)


class Board:
    """Findings per (signal, GPU) and verdicts per GPU; rows as in the roster."""

    def __init__(self, signals: tuple[Signal, ...], capacity: int) -> None:
        self.signals = signals
        self.findings = {
            name: np.full((len(signals), capacity), column.initial, column.dtype) for name, column in FINDING.items()
        }
        self.verdicts = Table(VERDICT, capacity)
        self.quantities = [""] * len(signals)  # the name under which each signal last reported its value
        self.required = np.array([signal.required for signal in signals], bool)
        self.caps = np.ones((len(signals), 5))
        self.enabled = np.ones(len(signals), bool)
        self.policy: Policy

    @property
    def level(self) -> Array:
        return self.findings["level"]

    def apply(self, policy: Policy) -> None:
        """Judge by `policy` from now on; a disabled signal forgets what it found."""
        self.policy = policy
        for at, signal in enumerate(self.signals):
            own = policy.of(signal)
            self.enabled[at] = own.enabled
            self.caps[at] = (1.0, 1.0, own.caps.warning, own.caps.critical, own.caps.evict)
            if not own.enabled:
                self.level[at] = int(Level.NONE)

    def grow(self, capacity: int) -> None:
        for name, column in FINDING.items():
            old = self.findings[name]
            new = np.full((old.shape[0], capacity), column.initial, column.dtype)
            new[:, : old.shape[1]] = old
            self.findings[name] = new
        self.verdicts.grow(capacity)

    def reset(self, rows: Array) -> None:
        for name, column in FINDING.items():
            self.findings[name][:, rows] = column.initial
        self.verdicts.reset(rows)

    def copy(self, at: int, source: int, target: int) -> None:
        """What signal number `at` finds of the row `source` holds of `target` as well."""
        for array in self.findings.values():
            array[at, target] = array[at, source]

    def write(self, at: int, rows: Array, classes: Array, value: Array | float, since: Array, fault: int) -> None:
        """Signal number `at` changed its mind about `rows`."""
        for name, new in (("level", classes), ("value", value), ("since", since), ("fault", fault)):
            self.findings[name][at][rows] = new

    def scores(self, rows: Array) -> Array:
        """The smallest cap of all signals."""
        level = self.level[:, rows]
        scores: Array = self.caps[np.arange(len(self.signals))[:, None], level + 1].min(axis=0)
        return scores

    def unknown(self, rows: Array) -> Array:
        """Where a required signal cannot tell."""
        needed = self.required & self.enabled
        return np.asarray((self.level[needed][:, rows] < 0).any(axis=0))

    def assess(self, rows: Array, now_ms: Array, *, late: bool) -> tuple[Array, Array]:
        """Bring the verdicts of `rows` up to date: (where held score or condition changed, where there is one).

        Worse counts at once, better after `improve_after_s` of the stream clock without cause. `late`: also
        GPUs that have only just appeared and show no fault get their first verdict.
        """
        verdict = self.verdicts.columns
        score, unknown = self.scores(rows), self.unknown(rows)
        held, better = verdict["held"][rows], verdict["better_since"][rows]
        wait_ms = int(self.policy.values.node.improve_after_s * 1000)
        rising = (score > held) & ~unknown
        worst = np.where(better == 0, score, np.minimum(score, verdict["worst_since"][rows]))
        better = np.where(rising, np.where(better == 0, now_ms, better), 0)
        improves = rising & (now_ms - better >= wait_ms)
        new_held = np.where(improves, worst, np.minimum(score, held))
        further = improves & (score > worst)  # from here on to the better score that has not lasted yet
        better[improves] = np.where(further, now_ms, 0)[improves]
        worst = np.where(improves | ~rising, score, worst)
        before = verdict["condition"][rows]
        condition = np.select(
            [new_held <= 0.3, unknown, new_held < 0.7, new_held < 0.9],
            [_NUMBER[c] for c in (Condition.FAILED, Condition.UNKNOWN, Condition.DEGRADED, Condition.WARNING)],
            _NUMBER[Condition.HEALTHY],
        ).astype("i1")
        undecided = (condition == _NUMBER[Condition.UNKNOWN]) | (condition == _NUMBER[Condition.HEALTHY])
        waits = (before == UNASSESSED) & undecided & (not late)
        condition[waits] = UNASSESSED
        verdict["score"][rows], verdict["held"][rows], verdict["better_since"][rows] = score, new_held, better
        verdict["worst_since"][rows] = worst
        verdict["condition"][rows] = condition
        return ((condition != before) | (new_held != held)) & ~waits, ~waits

    def improving(self, count: int) -> Array:
        """Rows that wait for their time without cause to pass, or for their first verdict."""
        verdict = self.verdicts.columns
        waiting = (verdict["better_since"][:count] > 0) | (verdict["condition"][:count] == UNASSESSED)
        rows: Array = np.flatnonzero(waiting)
        return rows

    def touched(self, count: int) -> Array:
        """Rows whose score a new policy changes, and those that show a finding, whose reasons may read otherwise."""
        rows = np.arange(count)
        found = (self.level[:, :count] > 0).any(axis=0)
        touched: Array = np.flatnonzero(found | (self.scores(rows) != self.verdicts.columns["score"][:count]))
        return touched

    def condition(self, row: int) -> Condition:
        return CONDITIONS[int(self.verdicts.columns["condition"][row])]

    def reasons(self, row: int) -> list[Reason]:
        """What lowers the score or hides it, worst first."""
        reasons = []
        for at, level in enumerate(self.level[:, row].tolist()):
            if level == Level.FINE:
                continue
            asked = self.findings["since"][at, row] > 0  # else the GPU is too new for a question
            if level > Level.FINE or (self.required[at] and self.enabled[at] and asked):
                reasons.append(self._reason(at, self.signals[at], row, Level(level)))
        held = float(self.verdicts.columns["held"][row])
        if held < self.verdicts.columns["score"][row]:
            reasons.append(self._recovering(row, held))
        return sorted(reasons, key=lambda reason: reason.cap)

    def _reason(self, at: int, signal: Signal, row: int, level: Level) -> Reason:
        quantity = self.quantities[at]
        value = float(str(self.findings["value"][at, row]))  # the shortest number that means the same
        limits = getattr(self.policy.of(signal), "limits", None)
        limit = limits.limit(int(level)) if limits is not None else None
        word = "unknown" if level is Level.NONE else level.word
        return Reason(
            signal=signal.name,
            level=word,
            cap=float(self.caps[at, level + 1]),
            quantity=quantity,
            value=None if value != value else value,
            unit=unit(quantity),
            limit=limit,
            since=int(self.findings["since"][at, row]),
            text=signal.text(word, quantity, value, unit(quantity), limit),
        )

    def _recovering(self, row: int, held: float) -> Reason:
        """Why the GPU counts for less than its score: the cause has gone, but only just."""
        wait_s = self.policy.values.node.improve_after_s
        return Reason(
            signal="recovering",
            level=Level.WARNING.word,
            cap=held,
            since=int(self.verdicts.columns["better_since"][row]),
            text=f"better, but not yet for {wait_s:g} s: counts as {held:g} until then",
        )

    def fault(self, row: int) -> tuple[Action, bool, bool]:
        """(action, hard, corruption) of the findings that take this GPU out of service."""
        action, hard, corruption = Action.NONE, False, False
        for at, level in enumerate(self.level[:, row].tolist()):
            if level <= Level.FINE or self.caps[at, level + 1] >= 1.0:
                continue
            bits = int(self.findings["fault"][at, row])
            out = bool(self.caps[at, level + 1] <= 0.3)
            own = ACTIONS[bits >> _ACTION_SHIFT]
            if not out:
                own = Action.MONITOR
            elif own is Action.NONE:
                own = Action.EVICT
            action = max(action, own, key=ACTIONS.index)
            hard = hard or (out and bool(bits & HARD))
            corruption = corruption or (out and bool(bits & CORRUPTION))
        return action, hard, corruption

    def corrupting(self, row: int) -> list[int]:
        """Numbers of the signals by whose findings this GPU's outputs may be wrong."""
        level = self.level[:, row]
        out = (level > Level.FINE) & (self.caps[np.arange(len(self.signals)), level + 1] <= 0.3)
        numbers: list[int] = np.flatnonzero(out & (self.findings["fault"][:, row] & CORRUPTION > 0)).tolist()
        return numbers

    def evidence(self, row: int, signals: list[int]) -> list[Reason]:
        """The findings of `signals` about it, worst first."""
        level = self.level[:, row]
        found = [self._reason(at, self.signals[at], row, Level(int(level[at]))) for at in signals]
        return sorted(found, key=lambda reason: reason.cap)

    def save(self, count: int) -> dict[str, Any]:
        findings = {
            signal.name: {name: array[at, :count].tobytes() for name, array in self.findings.items()}
            | {"quantity": self.quantities[at]}
            for at, signal in enumerate(self.signals)
        }
        return {"findings": findings, "verdicts": self.verdicts.save(count)}

    def load(self, count: int, saved: dict[str, Any]) -> None:
        for at, signal in enumerate(self.signals):
            own = saved["findings"].get(signal.name)
            if own is not None:
                self.quantities[at] = own["quantity"]
                for name, column in FINDING.items():
                    self.findings[name][at, :count] = np.frombuffer(own[name], column.dtype)
        self.verdicts.load(count, saved["verdicts"])

    @property
    def bytes_per_gpu(self) -> int:
        return len(self.signals) * sum(c.bytes_per_gpu for c in FINDING.values()) + self.verdicts.bytes_per_gpu


_NUMBER = {condition: number for number, condition in enumerate(CONDITIONS)}
