"""How long each GPU has been silent, blank or missing, in credited time of the stream clock, and what its node says
about that: that a source fails, that the agent stops, that work is planned, that a GPU is being reset.

The table is the node stage's own; the signals that judge by it read `processors.signal.Fleet`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.resets import Resets
from processors.state import Column, Table
from processors.waves import Round
from schemas import records
from schemas.sources import AGENT, number_of

Array = npt.NDArray[Any]

NEVER = -1

# Credited ms unless said: when the GPU was first heard of, last in a frame, last in one that held any value of it.
COLUMNS = {
    "created": Column("i8"),
    "seen": Column("i8", fill=NEVER),
    "informed": Column("i8", fill=NEVER),
    "node_ts": Column("i8"),
    "listed": Column("i1"),  # 1: an inventory names it
    "retired": Column("i1"),  # 1: the row stands for no GPU any more
    "absent": Column("i8", fill=NEVER),  # since when inventories of its node lack it
    "stopped": Column("i8", fill=NEVER),  # when its node's agent said that it stops
    "fault": Column("i2"),  # what was last wrong with a source of its node (`schemas.sources.number_of`)
    "fault_since": Column("i8", fill=NEVER),
    "fault_told": Column("i8", fill=NEVER),  # when that was last said
    "planned": Column("i8"),  # until when work is planned, ms of the stream clock itself
    "overdue": Column("i8", fill=NEVER),  # when that time had passed
}


class FleetView:
    """`processors.signal.Fleet`. columns: those of `COLUMNS`, and of each GPU's node `reset_began` and `reset_over`
    (see `processors.resets.Reset`). nodes: a number for the node of each row.
    """

    def __init__(
        self, now_ms: int, credit_ms: int, columns: Mapping[str, Array], nodes: Array, *, new_policy: bool
    ) -> None:
        self.now_ms = now_ms
        self.new_policy = new_policy
        self._credit_ms = credit_ms
        self._columns = columns
        self._nodes = nodes

    def of(self, row: int) -> FleetView:
        """The same of one GPU."""
        one = {name: column[row : row + 1] for name, column in self._columns.items()}
        return FleetView(self.now_ms, self._credit_ms, one, np.zeros(1, "i8"), new_policy=self.new_policy)

    @property
    def node_ts(self) -> Array:
        return np.asarray(self._columns["node_ts"])

    @cached_property
    def silent_s(self) -> Array:
        since = self._since_heard("seen")
        since.flags.writeable = False  # several signals read it
        return since

    @property
    def expected(self) -> Array:
        return np.asarray((self._columns["seen"] >= 0) | (self._columns["listed"] > 0))

    @property
    def uninformed_s(self) -> Array:
        since = self._since_heard("informed")
        never = self._columns["informed"] < 0
        if np.count_nonzero(never):
            since[never & (self._columns["seen"] >= 0)] = np.nan
        return since

    @cached_property
    def node_silent_s(self) -> Array:
        silent = self._since(self._node_seen)
        silent[self._node_seen < 0] = np.inf
        silent.flags.writeable = False
        return silent

    @property
    def absent_s(self) -> Array:
        absent = self._columns["absent"]
        return self._since(absent, (absent >= 0) & (self._columns["seen"] <= absent) & (self._node_seen > absent))

    @property
    def stopped_s(self) -> Array:
        stopped = self._columns["stopped"]
        return self._since(stopped, (stopped >= 0) & (self._columns["seen"] <= stopped))

    @cached_property
    def source_fault(self) -> Array:
        told, columns = self._columns["fault_told"], self._columns
        if not np.count_nonzero(columns["fault"]):
            return np.asarray(columns["fault"])
        holds = (columns["informed"] <= told) & ((columns["seen"] > told) | (self._node_seen <= told))
        return np.where(holds, columns["fault"], 0)

    @property
    def source_fault_s(self) -> Array:
        return self._since(self._columns["fault_since"], self.source_fault > 0)

    @property
    def source_word_s(self) -> Array:
        return self._since(self._columns["fault_told"], self.source_fault > 0)

    @property
    def planned_until(self) -> Array:
        return np.asarray(self._columns["planned"])

    @property
    def overdue_s(self) -> Array:
        overdue = self._columns["overdue"]
        return self._since(overdue, (overdue >= 0) & (self._columns["seen"] <= overdue))

    @property
    def resetting_s(self) -> Array:
        began, over = self._columns["reset_began"], self._columns["reset_over"]
        return self._since(began, (began >= 0) & ((over < 0) | (self._columns["seen"] <= over)))

    @property
    def reset_over_s(self) -> Array:
        over = self._columns["reset_over"]
        return self._since(over, over >= 0)

    @cached_property
    def _node_seen(self) -> Array:
        """When any GPU of the node was last in a frame."""
        newest = np.full(self._nodes.max(initial=0) + 1, NEVER)
        np.maximum.at(newest, self._nodes, self._columns["seen"])
        return np.asarray(newest[self._nodes])

    def _since_heard(self, name: str) -> Array:
        """A GPU that is only listed, and never spoke, is silent since it was listed."""
        last = self._columns[name]
        never = last < 0
        if np.count_nonzero(never):
            last = np.where(never, self._columns["created"], last)
        return self._since(last)

    def _since(self, when: Array, where: Array | None = None) -> Array:
        """Seconds; NaN elsewhere."""
        since: Array = (self._credit_ms - when) / 1000.0
        return since if where is None else np.where(where, since, np.nan)


class Presence:
    """Keeps the table; see `COLUMNS`."""

    def __init__(self, capacity: int) -> None:
        self.table = Table(COLUMNS, capacity)
        self.resets = Resets()
        self._numbers: dict[str, int] = {}  # of nodes, in the order of their first rows
        self._nodes = np.empty(0, "i8")  # by row

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

    def listed(self, rows: Array, others: Array, credit_ms: int) -> None:
        """Note an inventory: it names `rows`, and not `others`, which are known GPUs of the same node."""
        columns = self.table.columns
        columns["listed"][rows] = 1
        columns["absent"][rows] = NEVER
        first = others[columns["absent"][others] < 0]
        columns["absent"][first] = credit_ms

    def told(self, rows: Array, status: records.SourceStatus, credit_ms: int) -> None:
        """Note how a source of the node with these rows fares."""
        columns = self.table.columns
        number = number_of(status.source, status.cause)
        told = columns["fault_told"][rows]
        if status.source == AGENT and status.state == "ended":
            columns["stopped"][rows] = credit_ms
        elif number and status.state == "failing":
            other = (columns["fault"][rows] != number) | (columns["seen"][rows] > told)
            columns["fault_since"][rows[other]] = credit_ms
            columns["fault"][rows] = number
            columns["fault_told"][rows] = credit_ms
        elif number:  # it is well again, and has yet to say something of the GPUs
            columns["fault_told"][rows[(columns["fault"][rows] > 0) & (columns["seen"][rows] <= told)]] = credit_ms

    def commanded(self, rows: Array, result: records.CommandResult, credit_ms: int, age_ms: int) -> None:
        """Note what became of a command to the node with these rows. age_ms: for how long it has been so."""
        heard = int(self.table.columns["seen"][rows].max(initial=NEVER))
        self.resets.take(result, credit_ms - age_ms, heard)

    def plan(self, rows: Array, until_ms: int) -> None:
        """Work is planned there until then, by the stream clock."""
        columns = self.table.columns
        columns["planned"][rows] = until_ms
        columns["overdue"][rows] = NEVER

    def end_plan(self, rows: Array, credit_ms: int) -> None:
        """The time for work that was planned there is over."""
        columns = self.table.columns
        rows = rows[columns["planned"][rows] > 0]
        columns["planned"][rows] = 0
        columns["overdue"][rows] = credit_ms

    def reset(self, rows: Array, credit_ms: int) -> None:
        """Other GPUs stand there now; work on their slots goes on as planned."""
        planned = self.table.columns["planned"][rows]
        self.table.reset(rows)
        self.table.columns["planned"][rows] = planned
        self.table.columns["created"][rows] = credit_ms

    def fleet(self, now_ms: int, credit_ms: int, node_of: Sequence[str], *, new_policy: bool) -> FleetView:
        """All GPUs at a timer. node_of: the node of each row."""
        count, numbers = len(node_of), self._numbers
        if self._nodes.size < count:
            more = [numbers.setdefault(node, len(numbers)) for node in node_of[self._nodes.size :]]
            self._nodes = np.concatenate((self._nodes, np.array(more, "i8")))
        planned = self.table.columns["planned"][:count]
        if np.count_nonzero(planned):
            self.end_plan(np.flatnonzero((planned > 0) & (planned <= now_ms)), credit_ms)
        columns = {name: column[:count] for name, column in self.table.columns.items()}
        columns |= self.resets.columns(self._numbers, self._nodes, credit_ms)
        return FleetView(now_ms, credit_ms, columns, self._nodes, new_policy=new_policy)
