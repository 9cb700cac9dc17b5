"""The incidents of a partition's nodes: evidence in, records out when something is to be told.

Nodes do not see each other, and each is told of its faults and findings in its own order, so that batch cuts and
other nodes show nowhere. State is bounded: open incidents of one family and one GPU are one, kinds of evidence are
counted, and of resolved ones a node keeps the newest few.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.board import Board
from processors.incident import NOBODY, Incident, Trace, gpus_of, record, same
from processors.node_incidents import Key, NodeIncidents
from processors.node_output import Cause, NodeOutput
from processors.policy import NodePolicy
from processors.roster import Roster
from processors.signal import Signal
from schemas.records import Gpu, Inventory, gpu_key
from schemas.states import Action, Family, Level

Array = npt.NDArray[Any]

COUNTS_EVERY_MS = 60_000  # mere counts are told no oftener
TAKEN_DOWN = 0.7  # a finding that leaves less than this is an incident; others only add to one


class Incidents:
    """See the module. Evidence is taken in first; `say` then tells what is new, behind one input record."""

    def __init__(self, signals: tuple[Signal, ...], roster: Roster, board: Board, out: NodeOutput) -> None:
        self.signals = signals
        self.roster = roster
        self.board = board
        self.out = out
        self._nodes: dict[str, NodeIncidents] = {}
        self._touched: list[tuple[str, Incident]] = []
        self._rest_ms: dict[str, float] = {}  # of nodes: the stream clock before which the timer finds nothing to do
        self._xid = next((at for at, signal in enumerate(signals) if signal.name == "xid"), None)
        self.apply(NodePolicy())

    def apply(self, policy: NodePolicy) -> None:
        self._quiet_ms = round(1000 * policy.incident_quiet_s)
        self._reopen_ms = round(1000 * policy.incident_reopen_s)
        self._window_ms = round(1000 * policy.incident_window_s)
        self._rest_ms.clear()

    def listed(self, inventory: Inventory) -> None:
        peers = {gpu.uuid: sorted(gpu.peers) for gpu in inventory.gpus if gpu.peers}
        self._wake(inventory.node)
        if peers or inventory.node in self._nodes:
            self._of(inventory.node).peers = peers

    # --- evidence ------------------------------------------------------------------------------------------------

    @property
    def xids_judged(self) -> bool:
        """Whether a signal keeps what Xids mean: only then can one be a standing cause."""
        return self._xid is not None and bool(self.board.enabled[self._xid])

    def add(self, node: str, trace: Trace, clock_ms: int, previous: str = "") -> None:
        """One more fault. previous: the kind that it says it comes of."""
        of = self._of(node)
        known = of.find(trace.key) or (of.find((previous, trace.row, "")) if previous else None)
        incident = known[0] if known else of.begin(node, trace, clock_ms, self._reopen_ms)
        incident.take([trace])
        incident.active_ms = max(incident.active_ms, clock_ms)
        incident.unsaid = True
        self._join(of, node, incident)

    def count(self, node: str, key: Key, ts: int, clock_ms: int) -> bool:
        """One more line that says nothing new; False if no open incident knows its kind, or it is the first of all."""
        of = self._nodes.get(node)
        known = of.find(key) if of else None
        if of is None or known is None or ts < known[1].first:
            return False
        incident, trace = known
        trace.count += 1
        trace.last, trace.over = max(trace.last, ts), False
        incident.active_ms = max(incident.active_ms, clock_ms)
        incident.unsaid = True
        self._wake(node)
        if len(of.open) > 1:
            self._join(of, node, incident)
        return True

    def blame(self, node: str, key: Key, job: str, action: Action) -> None:
        """A fault that is known already turns out to be a job's: so it is answered, and so it is joined."""
        of = self._of(node)
        known = of.find(key)
        if known:
            incident, trace = known
            trace.job, trace.action, trace.corruption = job, action, False
            self._join(of, node, incident)

    def xid_level(self, row: int) -> int:
        """The class in which the GPU's Xids put it."""
        return Level.NONE if self._xid is None else int(self.board.level[self._xid, row])

    def judged(self, row: int, ts: int, clock_ms: int) -> None:
        """What signals find of a GPU has changed: each finding begins to stand, or ends."""
        node, levels = self.roster.node_of[row], self.board.level[:, row].tolist()
        of = self._nodes.get(node)
        caps = [float(self.board.caps[at, level + 1]) for at, level in enumerate(levels)]
        faults = [self.signals[at].family is not None for at in range(len(levels))]
        down = {at for at, level in enumerate(levels) if faults[at] and level > Level.FINE and caps[at] < TAKEN_DOWN}
        if not down and (of is None or not of.open):
            return
        standing = set()
        for at, level in enumerate(levels):
            mild = level > Level.FINE and caps[at] < 1.0 and at != self._xid
            if at in down or (faults[at] and (mild or self.board.told_unknown(at, row))):
                trace = self._finding(at, row, ts, mild=at not in down)
                standing.add(trace.what)
                self._found(node, trace, clock_ms)
        self._wake(node)
        evicted = self._xid in down
        for incident in self._of(node).open:
            for trace in incident.traces:
                stands = evicted if trace.event else trace.what in standing
                if trace.row == row and trace.standing and not stands:
                    trace.standing = False
                    incident.active_ms = max(incident.active_ms, clock_ms)

    def _finding(self, at: int, row: int, ts: int, *, mild: bool) -> Trace:
        reason = self.board.reason(at, row)
        what, family = self.signals[at].named(reason.value if reason.value is not None else 0.0)
        action, _, corruption = self.board.fault_by(at, row)
        return Trace(
            what=what,
            family=family or Family.OTHER,
            row=row,
            gpu=self._gpu(row),
            first=ts,
            last=ts,
            text=reason.text,
            action=action,
            corruption=corruption,
            event=at == self._xid,
            mild=mild,
            standing=True,
        )

    def _found(self, node: str, trace: Trace, clock_ms: int) -> None:
        of = self._of(node)
        found = of.find(trace.key)
        if found and (found[1].standing or found[1].event):
            known = found[1]
            known.standing, known.action, known.corruption = True, trace.action, trace.corruption
            known.mild &= trace.mild
            self._join(of, node, found[0])
            return
        alone = Incident(id="", traces=[trace], born_ms=clock_ms, active_ms=clock_ms)
        around = of.around(self._window_ms)
        if not trace.mild or found or any(same(each, alone, around) for each in of.open):
            self.add(node, trace, clock_ms)

    def vouched(self, row: int, now_ms: int, *, operator: bool) -> None:
        """An operator's word, or a passed diagnostic: what is known of the GPU is over, but for what still stands."""
        node = self.roster.node_of[row]
        of = self._nodes.get(node)
        if of is None:
            return
        self._wake(node)
        for incident in [*of.open]:
            for trace in incident.traces:
                if trace.row == row and (operator or not trace.standing):
                    trace.standing, trace.over = False, True
            if incident.over:
                self._resolve(of, node, incident, now_ms)

    def left(self, row: int, now_ms: int) -> None:
        """The GPU is not in this row any more; what is known of it stays, under its name."""
        self.vouched(row, now_ms, operator=True)
        for incident in self._nodes.get(self.roster.node_of[row], ()):
            for trace in incident.traces:
                if trace.row == row:
                    trace.row, trace.place = NOBODY, gpu_key("", trace.gpu.uuid, trace.gpu.bdf)

    def moved(self, former: int, row: int) -> None:
        """The rows turn out to be of one GPU."""
        node = self.roster.node_of[row]
        of = self._nodes.get(node)
        if of is None:
            return
        for incident in of:
            traces, incident.traces = incident.traces, []
            for trace in traces:
                if trace.row == former:
                    trace.row = row
                incident.take([trace])
        for incident in [*of.open]:
            if any(incident is each for each in of.open):
                self._join(of, node, incident)

    # --- which incident ------------------------------------------------------------------------------------------

    def of(self, row: int) -> str:
        """The id of the gravest open incident of a GPU; empty: there is none."""
        of = self._nodes.get(self.roster.node_of[row])
        own = [incident for incident in of.open if incident.concerns(row)] if of else []
        return max(own, key=lambda incident: incident.gravity).id if own else ""

    def tell(self, row: int) -> str:
        """The same, to be told with a verdict."""
        id, node = self.of(row), self.roster.node_of[row]
        if id:
            self._of(node).told[row] = id
        elif node in self._nodes:
            self._nodes[node].told.pop(row, None)
        return id

    def tells_otherwise(self, row: int) -> bool:
        of = self._nodes.get(self.roster.node_of[row])
        return of is not None and self.of(row) not in ("", of.told.get(row))

    def _of(self, node: str) -> NodeIncidents:
        return self._nodes.setdefault(node, NodeIncidents())

    def _gpu(self, row: int) -> Gpu:
        return Gpu(uuid=self.roster.uuid_of[row], bdf=self.roster.bdf_of[row])

    def _join(self, of: NodeIncidents, node: str, incident: Incident) -> None:
        for changed in of.join(incident, self._window_ms):
            self._touch(node, changed)

    # --- telling -------------------------------------------------------------------------------------------------

    def _touch(self, node: str, incident: Incident | None) -> None:
        if incident is not None:
            self._touched.append((node, incident))
            self._wake(node)

    def say(self, cause: Cause, clock_ms: int) -> Array:
        """Tell what is new beyond counts. Returns the rows of GPUs that it concerns, rising."""
        if not self._touched:
            return np.empty(0, "i8")
        touched, self._touched = self._touched, []
        rows: set[int] = set()
        for node, incident in {incident.id: (node, incident) for node, incident in touched}.values():
            known = self._of(node)
            here = any(incident is each for each in known)  # else another has absorbed it
            if here and self._tell(cause, node, incident, clock_ms):
                rows.update(trace.row for trace in incident.traces if trace.row != NOBODY)
        return np.array(sorted(rows), "i8")

    def _tell(self, cause: Cause, node: str, incident: Incident, clock_ms: int, *, always: bool = False) -> bool:
        for trace in incident.traces:
            if trace.row != NOBODY:
                trace.gpu = self._gpu(trace.row)
        others = [self._gpu(row) for row in self.roster.rows_of(node)]
        kinds = sorted((trace.what, trace.gpu.uuid, trace.gpu.bdf, trace.place) for trace in incident.traces)
        grave = [incident.root.what, incident.action, incident.corruption, incident.reopened, incident.resolved_ms]
        said = msgspec.json.encode([*grave, gpus_of(incident, others), kinds]).decode()
        if said == incident.said and not always:
            return False
        incident.said, incident.said_ms, incident.unsaid = said, clock_ms, False
        told = record(incident, node, self.roster.nodes[node].cluster, others)
        self.out.incident(cause, told, urgent=not always)
        return True

    def _resolve(self, of: NodeIncidents, node: str, incident: Incident, now_ms: int) -> None:
        of.resolve(incident, now_ms)
        self._touch(node, incident)

    def timer(self, cause: Cause, now_ms: int) -> None:
        """Resolve what has come to rest, tell how counts have grown, forget what is long over."""
        for node in sorted(node for node in self._nodes if self._rest_ms.get(node, 0) <= now_ms):
            of = self._nodes[node]
            for incident in [*of.open]:
                if now_ms - incident.active_ms >= self._quiet_ms and not incident.standing:
                    self._resolve(of, node, incident, now_ms)
                elif incident.unsaid and now_ms - incident.said_ms >= COUNTS_EVERY_MS:
                    self._tell(cause, node, incident, now_ms, always=True)
            self.say(cause, now_ms)
            for incident in of.forget(now_ms, self._reopen_ms):
                self.out.incident_over(cause, incident.id)
            if not of.open:
                of.told.clear()
            if of.empty:
                del self._nodes[node]
            else:
                self._rest_ms[node] = of.next_ms(self._quiet_ms, COUNTS_EVERY_MS, self._reopen_ms)

    def _wake(self, node: str) -> None:
        self._rest_ms.pop(node, None)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        return {node: msgspec.to_builtins(self._nodes[node]) for node in sorted(self._nodes)}

    def load(self, saved: dict[str, Any]) -> None:
        self._rest_ms.clear()
        self._nodes = {node: msgspec.convert(of, NodeIncidents) for node, of in saved.items()}
