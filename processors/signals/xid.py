from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from processors.diagnosis import proves_health
from processors.families import family_of_xid
from processors.signal import Event, Fleet, Out, Report, Seconds, Signal
from processors.state import Column, View
from processors.xid_facts import Demotion, Fact, Verdict, answer, asked
from schemas.records import Diagnostic
from schemas.states import Action, Family, Level
from schemas.xid import XidResponse, lookup

KEPT = 4  # how many different Xids of one GPU are remembered: the gravest
DOUBLE_BIT = 48
RECOVERY_ACTION_CHANGED = 154
HOUR_MS = 3_600_000

Kept = dict[int, tuple[Fact, int]]  # by code, in the order in which they came first; with when they last came


class Xid(Signal):
    """The Xids of a GPU that still count, answered as the catalogue says: by the gravest response of them all.

    What evicts stays until an operator restores the GPU or a diagnostic that began later has passed; what lowers the
    score does so for `lower_for_s`. No such diagnostic takes back that outputs may have been wrong (but see
    `node.release_by_diagnostic`), nor that the GPU is to be replaced. A double-bit error within `repeat_days` of the
    one before evicts for good. Facts are kept, not verdicts: a new policy judges them anew.

    Xids that are mostly an application's doing (13, 31, 43, 45, 68, 69, 109 and more: see the catalogue) can be
    answered otherwise: by `application_response`, all of them; by `demote`, those of processes by their names; and
    where they come to `shared_gpus` GPUs (0 = never) of a node within `shared_s` from one process, or from processes
    of one name, they are that job's fault and count for nothing.
    """

    name = "xid"
    reads = (Diagnostic,)
    columns = {
        "facts": Column("i8", cells=KEPT),
        "names": Column("i8", cells=2 * KEPT),  # of processes
        "at": Column("i8", cells=KEPT),  # stream clock, ms
        "double_bit_hour": Column("i4"),  # stream clock at the newest: what operators restore does not change that
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        catalog: Literal["default", "spec"] = "default"
        lower_for_s: Seconds = 3600.0
        responses: dict[str, XidResponse] = msgspec.field(default_factory=dict)
        application_response: XidResponse | None = None
        demote: list[Demotion] = msgspec.field(default_factory=list)
        shared_gpus: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 2
        shared_s: Seconds = 30.0
        repeat_days: Annotated[float, msgspec.Meta(ge=0.0, le=36_500.0)] = 30.0

    def on_event(self, event: Event, state: View, policy: Any, out: Out) -> None:
        code = event.info.code
        kept = self._kept(state, 0)
        lead = self._lead(policy, kept)
        kept = self._unexpired(policy, kept, event.clock_ms)
        if code == RECOVERY_ACTION_CHANGED and event.fault.recovery_action == 0:
            kept.pop(code, None)  # the driver takes its own demand back
        else:
            fact = Fact.of(event.fault, code, hours=self._hours(event, state, kept), shared=event.shared_since > 0)
            if self._matters(policy, fact):
                kept[code] = self._graver(policy, kept.get(code), fact, event)
        self._keep(policy, state, 0, kept)
        self._judge(policy, kept, None, out, anew=self._lead(policy, kept) != lead)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        cells = state.facts
        for row in np.flatnonzero(cells.array[:, cells.rows].any(axis=0)).tolist():
            kept = self._kept(state, row)
            left = self._unexpired(policy, kept, fleet.now_ms)
            if fleet.new_policy or left.keys() != kept.keys():
                anew = fleet.new_policy or self._lead(policy, left) != self._lead(policy, kept)
                self._keep(policy, state, row, left)
                self._judge(policy, left, np.array([row]), out, anew=anew)

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        told = report.record
        assert isinstance(told, Diagnostic)
        kept = self._kept(state, 0)
        if report.releases and any(self._verdict(policy, fact).corruption for fact, _ in kept.values()):
            self.on_restore(state, policy, out)
        elif proves_health(told):
            began = report.ts - (told.ts - told.started)
            left = {code: (fact, ms) for code, (fact, ms) in kept.items() if ms >= began or self._lasts(policy, fact)}
            if left.keys() != kept.keys():
                self._keep(policy, state, 0, left)
                self._judge(policy, left, None, out, anew=self._lead(policy, left) != self._lead(policy, kept))

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        self._keep(policy, state, 0, {})
        out.judge(0)

    # --- what is kept ------------------------------------------------------------------------------------------

    def _hours(self, event: Event, state: View, kept: Kept) -> int | None:
        """How long ago the GPU had the double-bit error before this one; lines of one error are not two."""
        if event.info.code != DOUBLE_BIT:
            return None
        before, now = int(state.double_bit_hour[0]), event.clock_ms // HOUR_MS
        if event.repeat:
            return kept[DOUBLE_BIT][0].hours if DOUBLE_BIT in kept else None
        state.double_bit_hour = np.array([now])
        return max(now - before, 0) if before else None

    def _graver(self, policy: Any, known: tuple[Fact, int] | None, fact: Fact, event: Event) -> tuple[Fact, int]:
        """What to keep of an Xid that has come before: of its lines the one that asks for more, and of an
        application's, whose processes may be answered differently, the worse. A recovery action is a state: the
        newest holds.

        That it was a job's fault also answers for what came since that job began to fail.
        """
        if known is None or fact.code == RECOVERY_ACTION_CHANGED:
            return fact, event.clock_ms
        if asked(fact).gravity < asked(known[0]).gravity:
            return known
        if not event.info.application:
            return fact, event.clock_ms
        pardoned = fact.shared and known[1] >= event.shared_since
        if not pardoned and self._verdict(policy, known[0]) > self._verdict(policy, fact):
            return known
        evicts = self._verdict(policy, fact).level is Level.EVICT
        return fact, known[1] if evicts and not known[0].shared else event.clock_ms

    def _kept(self, state: View, row: int) -> Kept:
        facts, at, names = (
            cells.array[:, cells.rows][:, row].tolist() for cells in (state.facts, state.at, state.names)
        )
        found = zip(facts, names[::2], names[1::2], at, strict=True)
        unpacked = ((Fact.unpacked(said, *name), ms) for said, *name, ms in found if said)
        return {fact.code: (fact, ms) for fact, ms in unpacked}

    def _keep(self, policy: Any, state: View, row: int, kept: Kept) -> None:
        """The gravest; of equals the first."""
        while len(kept) > KEPT:
            del kept[min(reversed(kept), key=lambda code: self._verdict(policy, kept[code][0]))]
        packed = [(*fact.packed(), ms) for fact, ms in kept.values()]
        for cells, numbers in (
            (state.facts, [said for said, *_ in packed]),
            (state.names, [half for _, *name, _ in packed for half in name]),
            (state.at, [ms for *_, ms in packed]),
        ):
            cells.array[:, cells.positions()[row]] = numbers + [0] * (cells.array.shape[0] - len(numbers))

    def _unexpired(self, policy: Any, kept: Kept, now_ms: int) -> Kept:
        def holds(fact: Fact, ms: int) -> bool:
            latched = lookup(fact.code).latches or self._verdict(policy, fact).level is Level.EVICT
            return latched or now_ms - ms < policy.lower_for_s * 1000

        return {code: (fact, ms) for code, (fact, ms) in kept.items() if holds(fact, ms)}

    def _lasts(self, policy: Any, fact: Fact) -> bool:
        """Whether it stands however well the GPU does now; or passes by itself, in its time."""
        verdict, known = self._verdict(policy, fact), lookup(fact.code)
        if verdict.corruption or known.corruption or verdict.action is Action.EVICT_PERMANENTLY:
            return True
        return not known.latches and verdict.level is not Level.EVICT

    def _matters(self, policy: Any, fact: Fact) -> bool:
        """Whether this policy, or the catalogue, would ever answer it."""
        return asked(fact) is not XidResponse.MONITOR or self._answers(policy, fact)

    def _answers(self, policy: Any, fact: Fact) -> bool:
        return self._verdict(policy, fact).level > Level.FINE

    # --- what it means -----------------------------------------------------------------------------------------

    def _judge(self, policy: Any, kept: Kept, where: Any, out: Out, *, anew: bool) -> None:
        verdicts = [self._verdict(policy, fact) for fact, _ in kept.values()]
        gravest = max(verdicts, default=Verdict(Level.FINE, 0, False, False, None))
        out.judge(
            int(gravest.level),
            where=where,
            action=gravest.action,
            hard=any(verdict.hard for verdict in verdicts),
            corruption=any(verdict.corruption for verdict in verdicts),
            anew=anew,
            xid=self._lead(policy, kept),
        )

    def _lead(self, policy: Any, kept: Kept) -> int:
        """The Xid that stands for them all: the gravest; of equals the first."""
        answered = [code for code, (fact, _) in kept.items() if self._answers(policy, fact)]
        return max(answered, key=lambda code: self._verdict(policy, kept[code][0]), default=0)

    def _verdict(self, policy: Any, fact: Fact) -> Verdict:
        return answer(policy, fact)

    def named(self, value: float) -> tuple[str, Family]:
        return f"xid_{value:.0f}", family_of_xid(int(value))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"Xid {value:g}: {lookup(int(value)).meaning}"
