"""Silent corruption: which outputs of a GPU have to be checked again, from the last point at which it was good.

Known-good points, in the order in which they are preferred; only what is later than the evidence before counts:

- diagnostic: the start of the last passed diagnostic that tests memory (level 2 and above);
- admission: when the GPU was first judged fit for traffic, if it had shown no corruption, or when an operator put
  it back;
- clean-scrub: the end of the last whole `scrub_s` during which the GPU was fit for traffic without a break, neither
  unknown nor failed, and showed no uncorrectable error.

Corruption from the first evidence until it is cleared is one episode, told in one record and told anew when later
evidence moves its end. The table is the node stage's own: a row per GPU as in the roster, times in ms of node time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from processors.diagnosis import proves_health
from processors.policy import NodePolicy
from processors.state import Column, Table
from schemas.health_codes import CODES
from schemas.records import Diagnostic, Reason

DAY_MS = 86_400_000
SINCE = ("", "diagnostic", "admission", "clean-scrub")

COLUMNS = {
    "diagnosed": Column("i8"),
    "admitted": Column("i8"),
    "clean_since": Column("i8"),  # 0: it is not fit, or not judged yet
    "detected": Column("i8"),  # first evidence of the newest episode
    "told": Column("i8"),  # newest evidence that was told
    "start": Column("i8"),
    "since": Column("i1"),  # place in SINCE
    "open": Column("i1"),
    "repeat": Column("i1"),
    "muted": Column("i1"),  # a new policy calls what was told before corruption again: nothing new
}

# Signals that see corruption beyond doubt, by the values that they judge by; None: whichever. Double-bit errors (48,
# 140), uncontained ones (95), uncorrectable ones in DRAM and SRAM (171, 172).
CONFIRMED: dict[str, frozenset[int] | None] = {
    "uncorrectable_ecc": None,
    "dcgm_policy": None,
    "xid": frozenset({48, 95, 140, 171, 172}),
    "dcgm_health": frozenset(code for code, says in CODES.items() if says.confirmed),
    "diagnostic": frozenset(code for code, says in CODES.items() if says.confirmed),
}


class Episode(NamedTuple):
    """What is to be told of one. See `schemas.records.Revalidation`."""

    start: int
    end: int
    detected: int
    since: str
    confidence: str
    repeat: bool
    evidence: list[Reason]


class Revalidations:
    """Keeps the table; see `COLUMNS`."""

    def __init__(self, capacity: int) -> None:
        self.table = Table(COLUMNS, capacity)
        self.policy = NodePolicy()

    def apply(self, policy: NodePolicy) -> None:
        """Judge by `policy` from now on."""
        self.policy = policy

    def heed(self, row: int, ts: int, evidence: list[Reason], *, fit: bool, new_policy: bool) -> Episode | None:
        """A GPU was judged; the episode if there is news of it.

        evidence: the findings that tell of corruption, as they stand. fit: for traffic, neither unknown nor failed.
        new_policy: the verdict changed for that alone, which is no news of what was told before.
        """
        at = self._row(row)
        newest = max((reason.since for reason in evidence), default=0)
        if new_policy and at["detected"]:
            at["muted"] |= bool(evidence) and not at["open"]
            at["told"] = max(at["told"], newest)
            news = False
        elif not evidence:
            self._clean(at, ts, fit)
            news = False
        elif not at["open"]:
            news = not at["muted"]
            if news:
                self._begin(at, newest)
        else:
            news = newest > at["told"]
        if news:
            at["told"] = newest
        self._keep(row, at)
        return self._episode(at, evidence) if news else None

    def passed(self, row: int, told: Diagnostic) -> bool:
        """Note a diagnostic; True: by policy it puts the GPU back, out of an episode that is open."""
        at = self._row(row)
        if not proves_health(told) or (at["open"] and told.started <= at["told"]):
            return False
        at["diagnosed"] = max(at["diagnosed"], told.started)
        self._keep(row, at)
        return bool(at["open"]) and self.policy.release_by_diagnostic

    def restored(self, row: int, ts: int) -> None:
        """Somebody vouches for the GPU: the episode is over."""
        at = self._row(row)
        at |= {"admitted": ts, "clean_since": ts, "open": 0, "repeat": 0, "muted": 0}
        self._keep(row, at)

    def repeats(self, row: int) -> bool:
        """Whether the open episode is one too many."""
        return bool(self.table.columns["open"][row] and self.table.columns["repeat"][row])

    # --- what is kept ------------------------------------------------------------------------------------------

    def _row(self, row: int) -> dict[str, Any]:
        return {name: int(column[row]) for name, column in self.table.columns.items()}

    def _keep(self, row: int, at: dict[str, Any]) -> None:
        for name, value in at.items():
            self.table.columns[name][row] = value

    def _clean(self, at: dict[str, Any], ts: int, fit: bool) -> None:
        if at["open"] or at["muted"]:
            at |= {"open": 0, "muted": 0, "clean_since": 0}
        if not fit:
            at["clean_since"] = 0
            return
        at["clean_since"] = at["clean_since"] or ts
        if not at["detected"]:
            at["admitted"] = at["admitted"] or ts

    def _begin(self, at: dict[str, Any], newest: int) -> None:
        before = at["told"]
        points = at["diagnosed"], at["admitted"], self._scrubbed(at["clean_since"], newest)
        for number, point in enumerate(points, 1):
            if before < point <= newest:
                at |= {"since": number, "start": point}
                break
        at["repeat"] = bool(before) and newest - before < self.policy.repeat_days * DAY_MS
        at |= {"open": 1, "detected": newest}

    def _scrubbed(self, clean_since: int, end: int) -> int:
        """The end of the last whole interval before `end`; 0: there is none."""
        scrub_ms = int(self.policy.scrub_s * 1000)
        whole = (end - clean_since) // scrub_ms if clean_since else 0
        return clean_since + whole * scrub_ms if whole > 0 else 0

    def _episode(self, at: dict[str, Any], evidence: list[Reason]) -> Episode:
        confirmed = any(_confirms(reason) for reason in evidence)
        return Episode(
            start=at["start"],
            end=at["told"],
            detected=at["detected"],
            since=SINCE[at["since"]],
            confidence="confirmed" if confirmed else "suspected",
            repeat=bool(at["repeat"]),
            evidence=evidence,
        )


def _confirms(reason: Reason) -> bool:
    if reason.signal not in CONFIRMED:
        return False
    values = CONFIRMED[reason.signal]
    return values is None or reason.value in values
