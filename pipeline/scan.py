"""One look at given inputs and at what a machine has said, through the same stages as ever.

What is given is judged at the time of the evidence, what was heard of a machine as of now.

A scan knows no budgets and no silence: a GPU of which it has no telemetry is *unseen*, not unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Any, NamedTuple

import msgspec

from pipeline.archive_log import BEFORE_ALL
from pipeline.listening import Heard, Here
from pipeline.policies import merge
from pipeline.replay import drive
from processors.policy import Policy, from_document, to_change
from producers.catalog import open_source
from producers.host import now_ms
from producers.numbering import Numbering
from producers.source import Ended, Observed, SourceError
from schemas import frames, records, topics
from schemas.fault_terms import Severity, XidResponse
from schemas.log import Output, Part, Record
from schemas.records import gpu_key
from schemas.states import Condition

UNSEEN = "unseen"
SETTLE_MS = 5_000  # the stages judge on a grid of five seconds: two more points see all there is
TICKS_MAX = 1_000
WITHOUT_HISTORY: dict[str, Any] = {
    "signals": {"presence": {"enabled": False}},
    "cluster": {"gpus_out_max": None, "gpus_out_share": 1.0},
}


class Finding(msgspec.Struct, kw_only=True):
    """One GPU. condition: as judged, or "unseen": nothing speaks against it, and there is no telemetry of it."""

    node: str
    uuid: str
    bdf: str
    condition: str
    score: float
    weight: float
    action: str
    reasons: list[str]
    xids: list[int]


class Report(msgspec.Struct, kw_only=True):
    """What a scan found. here: the machine that was looked at, if one was. events: kernel faults in order.
    unwell_switches: addresses of NVSwitches whose faults still count. unread: inputs that could not be read. notes: to
    know.
    """

    policy: str
    here: Here | None = None
    gpus: list[Finding] = []
    events: list[records.Xid] = []
    unwell_switches: list[str] = []
    unread: list[str] = []
    not_understood: list[str] = []
    notes: list[str] = []

    @property
    def healthy(self) -> bool:
        sound = (Condition.HEALTHY, UNSEEN)
        gpus = any(gpu.condition not in sound for gpu in self.gpus)
        return not (gpus or self.unwell_switches or self.not_understood)


def scan(
    specs: Sequence[str],
    policy: Policy,
    *,
    node: str | None = None,
    cluster: str = "default",
    timezone: tzinfo | None = None,
    heard: Heard | None = None,
) -> Report:
    """Read `specs` (see `producers.catalog`) once each, and judge them with what was heard of this machine.

    Raises SourceError for a spec that is none.
    """
    judged_by = from_document(policy.name, merge(msgspec.to_builtins(policy.values), WITHOUT_HISTORY))
    report = Report(policy=policy.id)
    said: list[Observed] = []
    if heard:
        said += [*heard.said, *_calm(heard, judged_by)]
        report.here, report.unread, report.notes = heard.here, [*heard.unread], [*heard.notes]
    for spec in specs:
        read, unread = asyncio.run(_read_all(spec, node, cluster, timezone))
        said += read
        report.unread += unread
    numbering = Numbering(epoch=1)
    observed = [numbering.stamp(each) for each in sorted(said, key=lambda each: each.ts or 0)]
    collected = _Collected()
    asyncio.run(drive({topics.OBSERVATIONS: _log(observed, judged_by)}, collected.add))
    report.gpus = collected.findings(_telemetry(observed))
    report.events = [msgspec.json.decode(value, type=records.Xid) for value in collected.events]
    report.unwell_switches = _unwell(report.events, _newest(observed), judged_by)
    report.not_understood = collected.not_understood
    told = [status.detail for each in observed if (status := _status(each)) and status.detail]
    report.notes = list(dict.fromkeys([*told, *report.notes]))
    return report


def _calm(heard: Heard, policy: Policy) -> Iterator[Observed]:
    """Ticks before a machine was heard: what had passed by then shall also have passed for as long as it takes a
    condition to improve.
    """
    span_ms = int(1000 * policy.values.node.improve_after_s) + 2 * SETTLE_MS
    first = min((each.ts or 0 for each in heard.said), default=heard.began)
    for ts in range(heard.began - span_ms, heard.began, max(SETTLE_MS, span_ms // TICKS_MAX)):
        if ts > first:
            yield Observed("", "tick", records.encode(records.Tick(ts=ts)), ts)


def _unwell(events: Sequence[records.Xid], now_ms: int, policy: Policy) -> list[str]:
    """The switches that have said what asks for more than counting: what is fatal counts for good, all else for as long
    as an Xid that lowers a score.
    """
    passed_ms = now_ms - 1000 * policy.signal("xid").lower_for_s
    return sorted(
        {
            event.bdf
            for event in events
            if event.fault == "sxid" and event.response != XidResponse.MONITOR
            if event.severity == Severity.FATAL or event.ts > passed_ms
        }
    )


async def _read_all(
    spec: str, node: str | None, cluster: str, timezone: tzinfo | None
) -> tuple[list[Observed], list[str]]:
    """All that a finite source (or one scrape of an endless one) says, and what went wrong."""
    source = open_source(spec, node=node, cluster=cluster, timezone=timezone, own_clock=True)
    said: list[Observed] = []
    try:
        async with asyncio.timeout(source.deadline_s):
            await source.open(None)
        while True:
            async with asyncio.timeout(source.deadline_s):
                read = await source.read()
            said += [each if each.ts else each._replace(ts=now_ms()) for each in read]
            if "://" in spec:
                return said, []
    except Ended:
        return said, []
    except TimeoutError:
        return said, [f"{spec}: nothing came for {source.deadline_s:g} s"]
    except SourceError as error:
        return said, [str(error)]
    finally:
        await source.close()


def _log(observed: Sequence[Observed], policy: Policy) -> Iterator[Record]:
    """The observations, in the order of their time, between the policy and the ticks that settle all timers."""
    first = observed[0].ts or 0 if observed else 0
    last = _newest(observed)
    change = records.encode(to_change(policy, first))
    yield Record(BEFORE_ALL, first, "", "policy", change)
    for offset, each in enumerate(observed):
        yield Record(offset, each.ts or 0, each.node, each.kind, each.value)
    for number in (1, 2):
        ts = last + number * SETTLE_MS
        yield Record(len(observed) + number - 1, ts, "", "tick", records.encode(records.Tick(ts=ts)))


def _newest(observed: Sequence[Observed]) -> int:
    """The time of the last of what is in the order of time."""
    return observed[-1].ts or 0 if observed else 0


class Telemetry(NamedTuple):
    """Keys of the GPUs that frames list, and of those of which they hold a value."""

    listed: set[str]
    told: set[str]


def _telemetry(observed: Sequence[Observed]) -> Telemetry:
    telemetry = Telemetry(set(), set())
    for each in observed:
        if each.kind == frames.KIND:
            frame = frames.decode(each.value)
            keys = [gpu_key(frame.node, gpu.uuid, gpu.bdf) for gpu in frame.gpus]
            telemetry.listed.update(keys)
            for _, values in frame.columns():
                telemetry.told.update(keys[at % len(keys)] for at, value in enumerate(values) if value == value)
    return telemetry


def _status(observed: Observed) -> records.SourceStatus | None:
    return msgspec.json.decode(observed.value, type=records.SourceStatus) if observed.kind == "source" else None


class _Collected:
    """The newest decision per GPU, the events in order, and what no stage understood."""

    def __init__(self) -> None:
        self.decisions: dict[str, bytes] = {}
        self.events: list[bytes] = []
        self.not_understood: list[str] = []

    def add(self, part: Part, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if output.topic == topics.DECISIONS:
                if output.value:
                    self.decisions[output.key] = output.value
                else:
                    self.decisions.pop(output.key, None)
            elif output.topic == topics.XIDS:
                self.events.append(output.value)
            elif output.topic == topics.DEAD_LETTER:
                letter = msgspec.json.decode(output.value, type=records.DeadLetter)
                self.not_understood.append(f"{letter.why}: {letter.data.decode(errors='backslashreplace')[:120]}")

    def findings(self, telemetry: Telemetry) -> list[Finding]:
        """Worst first."""
        xids: dict[str, list[int]] = {}
        for value in self.events:
            event = msgspec.json.decode(value, type=records.Xid)
            if event.code is not None and event.fault == "xid":
                xids.setdefault(gpu_key(event.node, event.uuid, event.bdf), []).append(event.code)
        found = []
        for key, value in self.decisions.items():
            decision = msgspec.json.decode(value, type=records.Decision)
            condition, reasons = str(decision.condition), [reason.text for reason in decision.reasons]
            if decision.condition is Condition.HEALTHY and key not in telemetry.told:
                blank = key in telemetry.listed
                condition = Condition.UNKNOWN.value if blank else UNSEEN
                reasons = ["every value is blank" if blank else "no telemetry of it in the inputs"]
            found.append(
                Finding(
                    node=decision.node,
                    uuid=decision.uuid,
                    bdf=decision.bdf,
                    condition=condition,
                    score=decision.score,
                    weight=decision.weight,
                    action=decision.action,
                    reasons=reasons,
                    xids=xids.get(key, []),
                )
            )
        return sorted(found, key=lambda gpu: (gpu.score, gpu.node, gpu.bdf, gpu.uuid))
