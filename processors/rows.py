"""What is kept of every GPU, in its row of each table: rows are added, emptied, and merged when two are one GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.board import Board
from processors.counters import Counters
from processors.instances import Instances
from processors.policy import Policy
from processors.prediction.predictions import Predictions
from processors.presence import Presence
from processors.revalidation import Revalidations
from processors.roster import Roster
from processors.rounds import Rounds
from processors.signal import Signal
from processors.state import Table
from schemas.fields import FIELDS, Kind

_NEVER = np.empty(0, "i8")


class Rows:
    """All state that signals and verdicts keep, a row per GPU, as in the roster.

    wanted: field -> its row among the counters, -1 for gauges: what frames are searched for.
    tables: of each signal its own columns.
    """

    def __init__(self, signals: tuple[Signal, ...], roster: Roster) -> None:
        self.signals = signals
        self.roster = roster
        self.capacity = 64
        fields = {field for signal in signals for field in signal.fields}
        changing = sorted(field for field in fields if FIELDS[field].kind is not Kind.GAUGE)
        self.wanted = {field: changing.index(field) if field in changing else -1 for field in sorted(fields)}
        self.counters = Counters(changing, self.capacity)
        self.board = Board(signals, self.capacity)
        self.presence = Presence(self.capacity)
        self.revalidations = Revalidations(self.capacity)
        self.predictions = Predictions(self.capacity)
        self._own_tables = self.presence.table, self.revalidations.table, self.predictions.table
        self.tables = [Table(signal.columns, self.capacity) for signal in signals]
        self.rounds = Rounds(signals, self.tables, self.board, self.counters)
        self.instances = Instances(signals)

    def apply(self, policy: Policy) -> None:
        """Judge by `policy` from now on."""
        self.board.apply(policy)
        self.revalidations.apply(policy.values.node)
        self.predictions.apply(policy.values.prediction)
        self.instances.apply(policy)

    def fit(self) -> None:
        """Make room for all that the roster knows."""
        if len(self.roster) > self.capacity:
            while self.capacity < len(self.roster):
                self.capacity *= 2
            self.counters.grow(self.capacity)
            self.board.grow(self.capacity)
            self.rounds.grow(self.capacity)
            for table in (*self.tables, *self._own_tables):
                table.grow(self.capacity)

    def reset(self, row: int, credit_ms: int) -> None:
        """Another GPU stands there: nothing of what is known of the one before holds."""
        rows = np.array([row])
        self.counters.forget(rows)
        self.board.reset(rows)
        for table in (*self.tables, self.revalidations.table):
            table.reset(rows)
        self.presence.reset(rows, credit_ms)
        self.predictions.forget(row)
        for sampled in self.rounds.sampled.values():
            sampled[rows] = 0
        self.instances.forget(row)

    def retire(self, row: int) -> None:
        """No GPU stands there any more."""
        self.roster.retire(row)
        self.reset(row, 0)
        self.presence.table.columns["retired"][row] = 1

    def absorb(self, row: int, former: int) -> None:
        """`former` was the same GPU, known by its BDF alone, so that only kernel faults can be known of it."""
        for at, signal in enumerate(self.signals):
            by_events = type(signal).on_event is not Signal.on_event
            if by_events and self.board.level[at, former] > self.board.level[at, row]:
                self.tables[at].copy(former, row)
                self.board.copy(at, former, row)
        self.instances.move(former, row)
        if self.revalidations.table.columns["detected"][former]:
            self.revalidations.table.copy(former, row)
        self.predictions.copy(former, row)
        self.retire(former)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        count = len(self.roster)
        return {
            "counters": self.counters.save(count),
            "board": self.board.save(count),
            "presence": self.presence.table.save(count),
            "resets": self.presence.resets.save(),
            "instances": self.instances.save(),
            "revalidations": self.revalidations.table.save(count),
            "predictions": self.predictions.save(count),
            "signals": {
                signal.name: [self.rounds.sampled.get(at, _NEVER)[:count].tobytes(), self.tables[at].save(count)]
                for at, signal in enumerate(self.signals)
            },
        }

    def load(self, saved: dict[str, Any], policy: Policy) -> None:
        """The roster is loaded before. policy: in force when `saved` was."""
        self.fit()
        count = len(self.roster)
        self.counters.load(count, saved["counters"])
        self.board.load(count, saved["board"])
        self.presence.table.load(count, saved["presence"])
        self.presence.resets.load(saved.get("resets", []))
        self.revalidations.table.load(count, saved["revalidations"])
        for at, signal in enumerate(self.signals):
            if signal.name in saved["signals"]:
                sampled, table = saved["signals"][signal.name]
                if at in self.rounds.sampled and sampled:
                    self.rounds.sampled[at][:count] = np.frombuffer(sampled, "i8")
                self.tables[at].load(count, table)
        self.apply(policy)
        self.instances.load(saved["instances"], policy)
        self.predictions.load(count, saved["predictions"])

    @property
    def bytes_per_gpu(self) -> int:
        """State per GPU, from what is declared."""
        tables = sum(table.bytes_per_gpu for table in (*self.tables, *self._own_tables))
        return tables + self.counters.bytes_per_gpu + 8 * len(self.rounds.sampled) + self.board.bytes_per_gpu
