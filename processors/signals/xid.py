from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from processors.signal import Event, Fleet, Out, Signal
from processors.state import Column, View
from schemas.states import Action, Level
from schemas.xid import XidResponse, lookup, respond

NO_ACTION = -1  # no Xid 154 recovery action was named


class Verdict(NamedTuple):
    """What one Xid means under a policy; the graver one of two is the greater tuple."""

    level: Level
    corruption: bool
    hard: bool
    rank: int
    action: Action | None


_OUTCOMES = {
    XidResponse.MONITOR: (Level.FINE, None),
    XidResponse.LOWER_SCORE: (Level.WARNING, None),
    XidResponse.DEGRADE: (Level.WARNING, None),
    XidResponse.EVICT: (Level.EVICT, Action.EVICT),
    XidResponse.EVICT_PERMANENTLY: (Level.EVICT, Action.EVICT_PERMANENTLY),
    XidResponse.REMOVE_NODE: (Level.EVICT, Action.REMOVE_NODE),
}


class Xid(Signal):
    """The gravest Xid of a GPU that still counts, answered as the catalogue says.

    What evicts stays until a diagnostic passed or an operator restores the GPU; what lowers the score does so
    for `lower_for_s`. The fact (code, action, time) is kept and judged anew when the policy changes.
    """

    name = "xid"
    columns = {
        "code": Column("i4"),
        "named_action": Column("i1", fill=NO_ACTION),
        "stronger": Column("i1", fill=NO_ACTION),
        "at": Column("i8"),
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        catalog: Literal["default", "spec"] = "default"
        lower_for_s: float = 3600.0
        responses: dict[str, XidResponse] = msgspec.field(default_factory=dict)

    def on_event(self, event: Event, state: View, policy: Any, out: Out) -> None:
        code, fault = event.info.code, event.fault
        if code == 154 and fault.recovery_action == 0:
            if state.code[0] == 154:  # the driver takes its own demand back
                self.on_restore(state, policy, out)
            return
        named = NO_ACTION if fault.recovery_action is None else fault.recovery_action
        stronger = self._stronger(code, fault.message)
        new = self._verdict(policy, code, named, stronger)
        if new.level <= Level.FINE or new < self._current(policy, state, event.clock_ms):
            return
        state.code, state.named_action, state.stronger, state.at = code, named, stronger, event.clock_ms
        self._judge(new, code, None, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        for row in np.flatnonzero(state.code).tolist():
            where = np.array([row])
            verdict = self._verdict(
                policy, *(int(c[row]) for c in (state.code, state.named_action, state.stronger))
            )
            if verdict.level < Level.EVICT and fleet.now_ms - state.at[row] >= policy.lower_for_s * 1000:
                state.code[row] = 0
                out.judge(0, where=where)
            else:
                self._judge(verdict, int(state.code[row]), where, out)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.code = 0
        out.judge(0)

    def _current(self, policy: Any, state: View, now_ms: int) -> Verdict:
        code = int(state.code[0])
        verdict = self._verdict(policy, code, int(state.named_action[0]), int(state.stronger[0]))
        expired = now_ms - int(state.at[0]) >= policy.lower_for_s * 1000
        fine = Verdict(Level.FINE, False, False, 0, None)
        return fine if not code or (verdict.level < Level.EVICT and expired) else verdict

    def _judge(self, verdict: Verdict, code: int, where: Any, out: Out) -> None:
        out.judge(
            int(verdict.level),
            where=where,
            action=verdict.action,
            hard=verdict.hard,
            corruption=verdict.corruption,
            xid=code,
        )

    def _stronger(self, code: int, message: str) -> int:
        """The response that the message asks for beyond the catalogue's, as a number to keep."""
        asked = respond(code, message)
        return NO_ACTION if asked is respond(code) else _RESPONSES.index(asked)

    def _verdict(self, policy: Any, code: int, named: int, stronger: int) -> Verdict:
        info = lookup(code)
        response = policy.responses.get(str(code))
        if response is None and policy.catalog == "spec":
            response = info.spec_response or XidResponse.MONITOR
        if response is None:
            response = _RESPONSES[stronger] if stronger != NO_ACTION else respond(code, "", named)
        if response is XidResponse.FOLLOW_MESSAGE:
            response = respond(code, "", named)
        level, action = _OUTCOMES[response]
        rank = list(Action).index(action) if action else 0
        out = level is Level.EVICT
        return Verdict(level, out and info.corruption, out and info.hard, rank, action)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"Xid {value:g}: {lookup(int(value)).meaning}"


_RESPONSES = tuple(XidResponse)
