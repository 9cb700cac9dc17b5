"""What becomes of a kernel fault: is it news, is it a job's, which incident is it of, and what do signals say to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt

from processors.families import family_of_xid
from processors.incident import NOBODY, Trace
from processors.incidents import Incidents
from processors.kernel_faults import FaultLog, Key, News
from processors.node_output import Cause, NodeOutput
from processors.policy import Policy
from processors.shared_faults import Hit, SharedFaults
from processors.signal import Event
from processors.xid_facts import Fact, Verdict, answer
from schemas.records import Gpu, KernelFault
from schemas.states import Action, Family, Level
from schemas.xid import Severity, XidInfo, lookup, of_switch

FELL_OFF_THE_BUS = 79
SILENT = Verdict(Level.FINE, 0, corruption=False, hard=False, action=None)

Array = npt.NDArray[Any]
Retell = Callable[[Cause, Array, int], None]


class Ask(Protocol):
    """Puts an event of the GPU at `row` to the signals."""

    def __call__(self, cause: Cause, row: int, event: Event, *, pardoned: bool = False) -> None: ...


class FaultIntake:
    """The kernel faults of a partition. ask, retell: see `processors.judges`."""

    def __init__(self, incidents: Incidents, out: NodeOutput, ask: Ask, retell: Retell) -> None:
        self.log = FaultLog()
        self.shared = SharedFaults()
        self.incidents = incidents
        self._out = out
        self._ask = ask
        self._retell = retell

    def apply(self, policy: Policy) -> None:
        self._policy: Any = policy.signal("xid")
        self._coalesce_ms = int(policy.values.node.coalesce_s * 1000)

    def take(self, cause: Cause, row: int, fault: KernelFault, ts: int, clock_ms: int) -> bool:
        """A fault of the GPU at `row`, or of a switch or an unnamed GPU (NOBODY); False: it was known already.

        ts: its time, corrected, ms. clock_ms: the stream clock.
        """
        code = FELL_OFF_THE_BUS if fault.code is None else fault.code
        info = of_switch(fault.severity) if fault.fault == "sxid" else lookup(code)
        key = Key(row, code, "xid") if row != NOBODY else Key(row, code, fault.fault, fault.node, fault.bdf)
        fact = Fact.of(fault, code)
        says = fact.process, fault.pid, fact.named, fact.stronger >= 0
        news = self.log.see(key, fault, ts, clock_ms, self._coalesce_ms, says)
        if news.kind == "double":
            return False
        if not news.left_out:
            self._out.xid(cause, fault, None if row == NOBODY else row, ts, info, repeat=news.kind != "new")
        what = f"{'sxid' if fault.fault == 'sxid' else 'xid'}_{code}"
        place = fault.bdf if row == NOBODY else ""
        if news.kind == "same" and self.incidents.count(fault.node, (what, row, place), ts, clock_ms):
            return True
        self._take_news(cause, row, fault, ts, clock_ms, info, fact, news, what)
        return True

    def _take_news(
        self,
        cause: Cause,
        row: int,
        fault: KernelFault,
        ts: int,
        clock_ms: int,
        info: XidInfo,
        fact: Fact,
        news: News,
        what: str,
    ) -> None:
        job: list[Hit] = []
        if row != NOBODY:
            within_ms = int(self._policy.shared_s * 1000)
            job = self.shared.see(fault.node, row, ts, clock_ms, fault, info, self._policy.shared_gpus, within_ms)
        verdict = SILENT if fault.fault == "sxid" else answer(self._policy, fact._replace(shared=bool(job)))
        name = (job[-1].name or f"pid {job[-1].pid}") if job else ""
        switch = fault.fault == "sxid"
        trace = Trace(
            what=what,
            family=Family.NVLINK if switch else family_of_xid(info.code),
            row=row,
            place=fault.bdf if row == NOBODY else "",
            gpu=Gpu(uuid=fault.uuid, bdf="" if switch else fault.bdf),
            first=ts,
            last=ts,
            text=f"SXid {fault.code} of switch {fault.bdf}" if switch else f"Xid {info.code}: {info.meaning}",
            raw=fault.raw,
            action=_action(verdict),
            corruption=verdict.corruption,
            event=True,
            fatal=switch and info.severity is Severity.FATAL,
            standing=row != NOBODY and verdict.level >= Level.CRITICAL and self.incidents.xids_judged,
            job=name,
        )
        self.incidents.add(fault.node, trace, clock_ms, f"xid_{fault.previous}" if fault.previous else "")
        since = min((hit.first_ms for hit in job), default=0)
        for hit in job[:-1]:
            self.incidents.blame(fault.node, (f"xid_{hit.code}", hit.row, ""), name, _action(verdict))
        if row != NOBODY:
            self._ask(cause, row, Event(ts, clock_ms, fault, info, news.kind != "new", since))
        self._take_back(cause, job, since)
        self._retell(cause, self.incidents.say(cause, clock_ms), ts)

    def _take_back(self, cause: Cause, job: list[Hit], since: int) -> None:
        """GPUs that were taken out for what turns out to be a job's fault are back at once: nothing was wrong."""
        for hit in job[:-1]:
            if not hit.told:
                event = Event(hit.ts, hit.first_ms, hit.fault, lookup(hit.code), True, since)
                self._ask(cause, hit.row, event, pardoned=self.incidents.xid_level(hit.row) > Level.FINE)
        for hit in job:
            hit.told = True

    def vouched(self, cause: Cause, row: int, now_ms: int, *, operator: bool) -> None:
        """See `Incidents.vouched`."""
        if operator:
            self.log.restart(row)
            self.shared.forget(row)
        self.incidents.vouched(row, now_ms, operator=operator)
        self.incidents.say(cause, now_ms)

    def left(self, cause: Cause, row: int, now_ms: int) -> None:
        """Another GPU stands in the row, or none."""
        self.log.forget(row)
        self.shared.forget(row)
        self.incidents.left(row, now_ms)
        self.incidents.say(cause, now_ms)

    def timer(self, cause: Cause, now_ms: int) -> None:
        for left in self.log.due(now_ms):
            row, fault = left.key.row, left.fault
            info = of_switch(fault.severity) if fault.fault == "sxid" else lookup(left.key.code)
            at = None if row == NOBODY else row
            self._out.xid(cause._replace(gpu=max(row, 0)), fault, at, left.ts, info, repeat=True, repeats=left.before)
        self.log.expire(now_ms, self._coalesce_ms)
        self.shared.expire(now_ms, int(self._policy.shared_s * 1000))
        self.incidents.timer(cause, now_ms)

    def save(self) -> dict[str, Any]:
        return {"log": self.log.save(), "shared": self.shared.save(), "incidents": self.incidents.save()}

    def load(self, saved: dict[str, Any]) -> None:
        self.log.load(saved["log"])
        self.shared.load(saved["shared"])
        self.incidents.load(saved["incidents"])


def _action(verdict: Verdict) -> Action:
    return verdict.action or (Action.MONITOR if verdict.level > Level.FINE else Action.NONE)
