"""How long each GPU has been silent or blank, in credited time of the stream clock.

The table is the node stage's own; the signal that judges by it is `processors.signals.presence`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.state import Column, Table
from processors.waves import Round

Array = npt.NDArray[Any]

# Credited ms: when the GPU was first heard of, last in a frame, last in one that held any value of it.
COLUMNS = {
    "created": Column("i8"),
    "seen": Column("i8", fill=-1),
    "informed": Column("i8", fill=-1),
    "node_ts": Column("i8"),
    "listed": Column("i1"),  # 1: an inventory names it
    "retired": Column("i1"),  # 1: the row stands for no GPU any more
}


class FleetView:
    """`processors.signal.Fleet` over the first `count` rows."""

    def __init__(self, now_ms: int, credit_ms: int, table: Table, count: int, *, new_policy: bool) -> None:
        self.now_ms = now_ms
        self.new_policy = new_policy
        self._credit_ms = credit_ms
        self._columns = {name: column[:count] for name, column in table.columns.items()}

    @property
    def node_ts(self) -> Array:
        return np.asarray(self._columns["node_ts"])

    @cached_property
    def silent_s(self) -> Array:
        since = self._since("seen")
        since.flags.writeable = False  # several signals read it
        return since

    @property
    def expected(self) -> Array:
        return np.asarray((self._columns["seen"] >= 0) | (self._columns["listed"] > 0))

    @property
    def uninformed_s(self) -> Array:
        since = self._since("informed")
        never = self._columns["informed"] < 0
        if np.count_nonzero(never):
            since[never & (self._columns["seen"] >= 0)] = np.nan
        return since

    def _since(self, name: str) -> Array:
        """A GPU that is only listed, and never spoke, is silent since it was listed."""
        last = self._columns[name]
        never = last < 0
        if np.count_nonzero(never):
            last = np.where(never, self._columns["created"], last)
        since: Array = (self._credit_ms - last) / 1000.0
        return since


class Presence:
    """Keeps the table; see `COLUMNS`."""

    def __init__(self, capacity: int) -> None:
        self.table = Table(COLUMNS, capacity)

    def saw(self, round_: Round) -> None:
        """Note a round of frames."""
        credit = round_.frames.credit_ms.repeat(round_.width)
        columns, rows, informed = self.table.columns, round_.rows, round_.informed
        columns["seen"][rows] = credit
        columns["node_ts"][rows] = round_.ended
        if informed is None:
            columns["informed"][rows] = credit
        else:
            columns["informed"][rows[informed]] = credit[informed]

    def listed(self, rows: Array) -> None:
        """Note an inventory."""
        self.table.columns["listed"][rows] = 1

    def fleet(self, now_ms: int, credit_ms: int, count: int, *, new_policy: bool) -> FleetView:
        return FleetView(now_ms, credit_ms, self.table, count, new_policy=new_policy)
