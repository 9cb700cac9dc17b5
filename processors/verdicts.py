"""What follows from the findings of signals: rates, incidents, outputs to check again, and a verdict per GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.board import UNASSESSED
from processors.incidents import TAKEN_DOWN, Incidents
from processors.judgement import Tick
from processors.node_output import WHOLE, Cause, Instance, NodeOutput
from processors.rows import Rows
from schemas.states import Action, Condition

Array = npt.NDArray[Any]


class Verdicts:
    """Holds what was found against the board, and tells what of it is news."""

    def __init__(self, rows: Rows, incidents: Incidents, out: NodeOutput) -> None:
        self.rows = rows
        self.board = rows.board
        self.presence = rows.presence
        self.revalidations = rows.revalidations
        self.incidents = incidents
        self.out = out

    def follow(
        self,
        tick: Tick,
        cause: Callable[[int], Cause],
        clock: Callable[[Array], Array],
        *,
        late: bool = False,
        new_policy: bool = False,
        instance: Instance = WHOLE,
    ) -> None:
        """Tell what a tick has found. cause, clock: by position in it. late: see `Board.assess`."""
        retired = self.presence.table.columns["retired"]
        for at, positions, quantity, values in tick.rates:
            for position, value in zip(positions.tolist(), values.tolist(), strict=True):
                if retired[tick.rows[position]]:
                    continue
                row, level = int(tick.rows[position]), int(tick.before[at][position])
                self.out.rate(cause(position), row, int(tick.ts[position]), at, level, quantity, value)
        positions = tick.changed()
        positions = positions[retired[tick.rows[positions]] == 0]
        if not positions.size:
            return
        visible = np.zeros(len(tick.rows), bool)
        for touched in tick.visible:
            visible[touched] = True
        clocks = clock(positions)
        changed, assessed = self.board.assess(tick.rows[positions], clocks, late=late)
        told = positions[changed | (visible[positions] & assessed)]
        for at in np.flatnonzero(visible[positions]).tolist():
            position, clock_ms = int(positions[at]), int(clocks[at])
            self.incidents.judged(int(tick.rows[position]), int(tick.ts[position]), clock_ms)
            others = self.incidents.say(cause(position), clock_ms)
            self.retell(cause(position), np.setdiff1d(others, tick.rows[told]), int(tick.ts[position]))
        for position in told.tolist():
            row, ts = int(tick.rows[position]), int(tick.ts[position])
            self._revalidate(cause(position), row, ts, instance, new_policy=new_policy)
            self._tell(cause(position), row, ts)

    def _revalidate(self, cause: Cause, row: int, ts: int, instance: Instance, *, new_policy: bool) -> None:
        """Say which outputs have to be checked again, where that is news."""
        evidence = self.board.evidence(row, self.board.corrupting(row))
        fit = self.board.condition(row) not in (Condition.UNKNOWN, Condition.FAILED)
        news = self.revalidations.heed(row, ts, evidence, fit=fit, new_policy=new_policy)
        if news:
            self.out.revalidation(cause, row, ts, instance, news)

    def _tell(self, cause: Cause, row: int, ts: int) -> None:
        repeats = bool(self.board.corrupting(row)) and self.revalidations.repeats(row)
        at_least = Action.EVICT_PERMANENTLY if repeats else Action.NONE
        self.out.verdict(cause, row, ts, self.incidents.tell(row), at_least=at_least)

    def retell(self, cause: Cause, rows: Array, ts: int) -> None:
        """GPUs that are out of service, and turn out to be part of another incident than was told."""
        verdict = self.board.verdicts.columns
        for row in rows.tolist():
            told = verdict["condition"][row] != UNASSESSED
            if told and verdict["held"][row] < TAKEN_DOWN and self.incidents.tells_otherwise(row):
                self._tell(cause, row, ts)

    def heartbeat(self, cause: Cause, now_ms: int, count: int) -> None:
        """Rates that are not zero, now and then, whether or not a class changed."""
        for at, signal in enumerate(self.rows.signals):
            values = signal.rates(self.rows.tables[at].view(slice(0, count)))
            if values is None:
                continue
            for row in np.flatnonzero(values > 0).tolist():
                level, quantity = int(self.board.level[at, row]), self.board.quantities[at]
                where = cause._replace(gpu=row)
                self.out.rate(where, row, now_ms, at, level, quantity, float(values[row]))
