from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from processors.signal import Event, Fleet, Out, Seconds, Signal
from processors.state import Column, View
from schemas.states import Action, Level
from schemas.xid import XidResponse, lookup, respond

KEPT = 4  # how many different Xids of one GPU are remembered: the gravest
DOUBLE_BIT = 48
RECOVERY_ACTION_CHANGED = 154
NO_ACTION = -1  # no recovery action was named (Xid 154)
UNREADABLE = 126  # one that no driver of today names


class Fact(NamedTuple):
    """What one Xid said, without any judgement. As one integer in the state; 0 = none.

    named: the recovery action of an Xid 154. stronger: the number of the response that the message asks for instead
    of the catalogue's. again: the GPU had this Xid before, and was put back.
    """

    code: int
    named: int = NO_ACTION
    stronger: int = NO_ACTION
    again: bool = False

    def packed(self) -> int:
        return self.code | (self.named + 1) << 32 | (self.stronger + 1) << 40 | self.again << 48

    @classmethod
    def unpacked(cls, number: int) -> Fact:
        return cls(number & 0xFFFF_FFFF, (number >> 32 & 0xFF) - 1, (number >> 40 & 0xFF) - 1, bool(number >> 48))


class Verdict(NamedTuple):
    """What one Xid means under a policy; the graver one of two is the greater tuple."""

    level: Level
    rank: int
    corruption: bool
    hard: bool
    action: Action | None


Kept = dict[int, tuple[Fact, int]]  # by code, in the order in which they came first; with when they last came

_OUTCOMES = {
    XidResponse.MONITOR: (Level.FINE, None),
    XidResponse.LOWER_SCORE: (Level.WARNING, None),
    XidResponse.DEGRADE: (Level.WARNING, None),
    XidResponse.EVICT: (Level.EVICT, Action.EVICT),
    XidResponse.EVICT_PERMANENTLY: (Level.EVICT, Action.EVICT_PERMANENTLY),
    XidResponse.REMOVE_NODE: (Level.EVICT, Action.REMOVE_NODE),
}


class Xid(Signal):
    """The Xids of a GPU that still count, answered as the catalogue says: by the gravest response of them all.

    What evicts stays until a diagnostic passed or an operator restores the GPU; what lowers the score does so
    for `lower_for_s`. Facts are kept, not verdicts: a new policy judges them anew.
    """

    name = "xid"
    columns = {
        "facts": Column("i8", cells=KEPT),
        "at": Column("i8", cells=KEPT),  # stream clock, ms
        "double_bits": Column("i1"),  # how many there ever were: what operators restore does not change that
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        catalog: Literal["default", "spec"] = "default"
        lower_for_s: Seconds = 3600.0
        responses: dict[str, XidResponse] = msgspec.field(default_factory=dict)

    def on_event(self, event: Event, state: View, policy: Any, out: Out) -> None:
        code = event.info.code
        if code == DOUBLE_BIT and not event.repeat:
            state.double_bits = np.minimum(state.double_bits + 1, 2)
        kept = self._kept(state, 0)
        lead = self._lead(policy, kept)
        kept = self._unexpired(policy, kept, event.clock_ms)
        if code == RECOVERY_ACTION_CHANGED and event.fault.recovery_action == 0:
            kept.pop(code, None)  # the driver takes its own demand back
        else:
            fact = Fact(
                code,
                self._named(event.fault.recovery_action),
                self._stronger(code, event.fault.message),
                code == DOUBLE_BIT and bool(state.double_bits[0] > 1),
            )
            if self._matters(policy, fact) and not self._milder(fact, kept):
                kept[code] = fact, event.clock_ms
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

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        self._keep(policy, state, 0, {})
        out.judge(0)

    # --- what is kept ------------------------------------------------------------------------------------------

    def _kept(self, state: View, row: int) -> Kept:
        facts, at = (cells.array[:, cells.rows][:, row].tolist() for cells in (state.facts, state.at))
        found = ((Fact.unpacked(number), ms) for number, ms in zip(facts, at, strict=True) if number)
        return {fact.code: (fact, ms) for fact, ms in found}

    def _keep(self, policy: Any, state: View, row: int, kept: Kept) -> None:
        """The gravest; of equals the first."""
        while len(kept) > KEPT:
            del kept[min(reversed(kept), key=lambda code: self._verdict(policy, kept[code][0]))]
        values = [*kept.values()]
        for cells, numbers in (
            (state.facts, [fact.packed() for fact, _ in values]),
            (state.at, [ms for _, ms in values]),
        ):
            cells.array[:, cells.positions()[row]] = numbers + [0] * (KEPT - len(numbers))

    def _unexpired(self, policy: Any, kept: Kept, now_ms: int) -> Kept:
        def holds(fact: Fact, ms: int) -> bool:
            latched = lookup(fact.code).latches or self._verdict(policy, fact).level is Level.EVICT
            return latched or now_ms - ms < policy.lower_for_s * 1000

        return {code: (fact, ms) for code, (fact, ms) in kept.items() if holds(fact, ms)}

    def _matters(self, policy: Any, fact: Fact) -> bool:
        """Whether this policy, or the catalogue, would ever answer it."""
        return self._asked(fact) is not XidResponse.MONITOR or self._answers(policy, fact)

    def _milder(self, fact: Fact, kept: Kept) -> bool:
        """Whether an earlier line of the code asked for more. A recovery action is a state: the newest holds."""
        before = kept.get(fact.code)
        if before is None or fact.code == RECOVERY_ACTION_CHANGED:
            return False
        return (fact.again, self._asked(fact).gravity) < (before[0].again, self._asked(before[0]).gravity)

    def _asked(self, fact: Fact) -> XidResponse:
        """What catalogue and message ask for, whatever the policy."""
        return _RESPONSES[fact.stronger] if fact.stronger != NO_ACTION else respond(fact.code, "", fact.named)

    def _answers(self, policy: Any, fact: Fact) -> bool:
        return self._verdict(policy, fact).level > Level.FINE

    def _named(self, action: int | None) -> int:
        if action is None:
            return NO_ACTION
        return action if 0 <= action < UNREADABLE else UNREADABLE

    def _stronger(self, code: int, message: str) -> int:
        """The response that the message asks for instead of the catalogue's, as a number to keep."""
        asked = respond(code, message)
        return NO_ACTION if asked is respond(code) else _RESPONSES.index(asked)

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
        info = lookup(fact.code)
        told = policy.responses.get(str(fact.code))
        response = told
        if response is None and policy.catalog == "spec":
            response = info.spec_response or XidResponse.MONITOR
        if response is None:
            response = self._asked(fact)
        if response is XidResponse.FOLLOW_MESSAGE:
            response = respond(fact.code, "", fact.named)
        if response is XidResponse.EVICT and fact.again and told is None:
            response = XidResponse.EVICT_PERMANENTLY
        level, action = _OUTCOMES[response]
        rank = list(Action).index(action) if action else 0
        out = level is Level.EVICT
        return Verdict(level, rank, out and info.corruption, out and info.hard, action)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"Xid {value:g}: {lookup(int(value)).meaning}"


_RESPONSES = tuple(XidResponse)
