"""What becomes of a kernel fault: is it news, is it a job's, which incident is it of, and what do signals say to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from processors.families import family_of_xid
from processors.incident import NOBODY, Trace
from processors.incidents import Incidents
from processors.kernel_faults import FaultLog, Key
from processors.node_output import Cause, NodeOutput
from processors.policy import Policy
from processors.shared_faults import Hit, SharedFaults
from processors.signal import Event
from processors.xid_facts import Fact, Verdict, answer, outcome
from schemas import mig, sxid
from schemas.records import Gpu, KernelFault
from schemas.states import Action, Family, Level
from schemas.sxid import Fatality, SxidInfo
from schemas.xid import Severity, XidInfo, lookup

FELL_OFF_THE_BUS = 79
RAW_CHARS_MAX = 1024  # of a line that is kept as evidence; the record on `xids` has all of it

Array = npt.NDArray[Any]
Retell = Callable[[Cause, Array, int], None]


class Line(NamedTuple):
    """A fault of the GPU at `row`, or of a switch or an unnamed GPU (NOBODY).

    ts: its time, corrected, ms. clock_ms: the stream clock.
    """

    cause: Cause
    row: int
    fault: KernelFault
    ts: int
    clock_ms: int

    @property
    def code(self) -> int:
        return FELL_OFF_THE_BUS if self.fault.code is None else self.fault.code

    @property
    def info(self) -> XidInfo | SxidInfo:
        return sxid.lookup(self.code, self.fault.severity) if self.fault.fault == "sxid" else lookup(self.code)

    @property
    def instance(self) -> tuple[int, int] | None:
        """The MIG instance that it stays inside, as in `schemas.mig`; None: it concerns all of the GPU."""
        info, place = self.info, mig.place(self.fault.gi, self.fault.ci)
        if not isinstance(info, XidInfo) or place is None:
            return None
        return place if mig.xid_stays_inside(info.code, info.category, self.fault.message) else None

    @property
    def key(self) -> Key:
        """Of its run."""
        if self.row == NOBODY:
            return Key(self.row, self.code, self.fault.fault, self.fault.node, self.fault.bdf)
        return Key(self.row, self.code, "xid", part="/".join(map(str, self.instance or ())))

    @property
    def what(self) -> str:
        return f"{'sxid' if self.fault.fault == 'sxid' else 'xid'}_{self.code}"

    @property
    def place(self) -> str:
        return self.fault.bdf if self.row == NOBODY else ""

    @property
    def trace_key(self) -> tuple[str, int, str]:
        return self.what, self.row, self.place


class Ask(Protocol):
    """Puts an event of the GPU at `row` to the signals."""

    def __call__(self, cause: Cause, row: int, event: Event, *, pardoned: bool = False) -> None: ...


class FaultIntake:
    """The kernel faults of a partition. ask: see `Judges.event`. retell: see `Verdicts.retell`."""

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

    def take(self, line: Line) -> bool:
        """Take a fault in; False: it was known already."""
        fault, ts, clock_ms = line.fault, line.ts, line.clock_ms
        fact = Fact.of(fault, line.code)
        says = fact.process, fault.pid, fact.named, fact.stronger, fault.severity
        news = self.log.see(line.key, fault, ts, clock_ms, self._coalesce_ms, says)
        if news.kind == "double":
            return False
        if not news.left_out:
            at = None if line.row == NOBODY else line.row
            self._out.xid(line.cause, fault, at, ts, line.info, repeat=news.kind != "new")
        counted = news.kind == "same" and self.incidents.count(fault.node, line.trace_key, ts, clock_ms)
        if not counted:
            self._take_news(line, fact, repeat=news.kind != "new")
            self._retell(line.cause, self.incidents.say(line.cause, clock_ms), ts)
        return True

    def _take_news(self, line: Line, fact: Fact, *, repeat: bool) -> None:
        fault, info, row = line.fault, line.info, line.row
        previous = f"xid_{fault.previous}" if fault.previous else ""
        if isinstance(info, SxidInfo):
            self.incidents.add(fault.node, _of_switch(line, info), line.clock_ms)
            return
        job: list[Hit] = []
        if row != NOBODY:
            within_ms = int(self._policy.shared_s * 1000)
            job = self.shared.see(row, line.ts, line.clock_ms, fault, info, self._policy.shared_gpus, within_ms)
        verdict = answer(self._policy, fact._replace(shared=bool(job)))
        name = (job[-1].name or f"pid {job[-1].pid}") if job else ""
        judged = row != NOBODY and line.instance is None and self.incidents.xids_judged
        stands = judged and verdict.level >= Level.CRITICAL
        trace = _of_gpu(line, info, verdict, name, standing=stands)
        self.incidents.add(fault.node, trace, line.clock_ms, previous)
        for hit in job[:-1]:
            self.incidents.blame(fault.node, (f"xid_{hit.code}", hit.row, ""), name, trace.action)
        if row != NOBODY:
            since = min((hit.first_ms for hit in job), default=0)
            self._ask(line.cause, row, Event(line.ts, line.clock_ms, fault, info, repeat, since))
            self._take_back(line.cause, job, since)

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
            line = Line(cause._replace(gpu=max(row, 0)), row, fault, left.ts, now_ms)
            at = None if row == NOBODY else row
            self._out.xid(line.cause, fault, at, left.ts, line.info, repeat=True, repeats=left.before)
        self.log.expire(now_ms, self._coalesce_ms)
        self.shared.expire(now_ms, int(self._policy.shared_s * 1000))
        self.incidents.timer(cause, now_ms)

    def save(self) -> dict[str, Any]:
        return {"log": self.log.save(), "shared": self.shared.save(), "incidents": self.incidents.save()}

    def load(self, saved: dict[str, Any]) -> None:
        self.log.load(saved["log"])
        self.shared.load(saved["shared"])
        self.incidents.load(saved["incidents"])


def _of_gpu(line: Line, info: XidInfo, verdict: Verdict, job: str, *, standing: bool) -> Trace:
    fault = line.fault
    return Trace(
        what=line.what,
        family=family_of_xid(info.code),
        row=line.row,
        place=line.place,
        gpu=Gpu(uuid=fault.uuid, bdf=fault.bdf),
        first=line.ts,
        last=line.ts,
        text=f"Xid {info.code}: {info.meaning}",
        raw=fault.raw[:RAW_CHARS_MAX],
        action=_action(verdict.level, verdict.action),
        corruption=verdict.corruption,
        event=True,
        standing=standing,
        job=job,
    )


def _of_switch(line: Line, info: SxidInfo) -> Trace:
    fatal = info.severity is Severity.FATAL
    return Trace(
        what=line.what,
        family=Family.NVLINK,
        row=NOBODY,
        place=line.place,
        first=line.ts,
        last=line.ts,
        text=f"SXid {info.code} of switch {line.fault.bdf}: {info.meaning}",
        raw=line.fault.raw[:RAW_CHARS_MAX],
        action=_action(*outcome(info.response)),
        event=True,
        fatal=fatal,
        everywhere=fatal and (info.scope == "switch" or info.fatality is Fatality.ALWAYS_FATAL),
    )


def _action(level: Level, action: Action | None) -> Action:
    return action or (Action.MONITOR if level > Level.FINE else Action.NONE)
