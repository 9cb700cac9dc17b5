"""An explanation as text for a terminal. Times are UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from schemas.counts import counted
from sinks.explain.model import CaseSeen, Explanation, Finding, IncidentSeen, XidSeen


def render(explanation: Explanation) -> str:
    """Lines, newline included. Whatever stands in a record, a terminal is told nothing but text."""
    return "".join(f"{_plain(line)}\n" for line in _lines(explanation))


def _lines(told: Explanation) -> Iterator[str]:
    yield from _identity(told)
    yield ""
    yield told.because
    yield from _decision(told)
    yield from _score(told)
    yield from _headed("Presence", [told.presence.text] if told.presence else [])
    for incident in told.incidents:
        yield from _headed(f"Incident {incident.id}, {incident.state}", _incident(incident))
    yield from _headed("Kernel faults", (line for xid in told.xids for line in _xid(xid)))
    rates = (f"{_at(r.ts)}  {r.signal}: {_value(r.value, r.unit)} ({r.level})" for r in told.rates)
    yield from _headed("Newest rates", rates)
    yield from _headed("Prediction", _prediction(told))
    yield from _headed("Cases", (line for case in told.cases for line in _case(case)))
    yield from _headed("Outputs to check again", _revalidations(told))
    groups = (
        f"{g.group}: {g.condition}, {g.action}{', this GPU is to blame' if g.blamed else ''}"
        + "".join(f"; {issue}" for issue in g.issues)
        for g in told.groups
    )
    yield from _headed("Tensor-parallel groups", groups)
    older = [f"and {told.older} older"] if told.older else []
    changes = [f"{_at(change.ts)}  {change.topic:<11}  {change.text}" for change in told.timeline]
    yield from _headed("Timeline, newest first (UTC)", [*changes, *older])
    yield from _headed("Not kept any more", told.not_kept)


def _identity(told: Explanation) -> Iterator[str]:
    gpu = told.gpu
    yield f"{gpu.uuid or gpu.key} on {gpu.node}" + (f" at {gpu.bdf}" if gpu.bdf else "")
    parts = (
        gpu.model,
        f"serial {gpu.serial}" if gpu.serial else "",
        "MIG" if gpu.mig else "",
        f"rack {gpu.rack}" if gpu.rack else "",
        f"driver {gpu.driver}" if gpu.driver else "",
        "" if gpu.listed else "no inventory lists it",
    )
    yield ", ".join(part for part in parts if part)
    yield f"as of {_at(told.as_of)} UTC, from {told.source}" if told.as_of else f"from {told.source}"


def _decision(told: Explanation) -> Iterator[str]:
    decision = told.decision
    if decision is None:
        return
    yield f"  {decision.state}, action {decision.action}, since {_at(decision.since)}; policy {decision.policy}"
    if decision.incident:
        yield f"  incident {decision.incident}"


def _score(told: Explanation) -> Iterator[str]:
    score = told.score
    if score is None:
        return
    yield ""
    held = f", counts as {score.held:g}" if score.held != score.score else ""
    yield f"Score {score.score:g}{held}: {score.condition}"
    for finding in score.findings:
        yield from (f"  {line}" for line in _finding(finding))
    if not score.findings:
        yield "  no signal finds anything wrong"
    if score.hysteresis:
        wait = score.hysteresis
        until = f"until {_at(wait.until)}, if nothing comes up" if wait.until else "until that has lasted"
        yield f"  better since {_at(wait.since)}: counts as {wait.counts_as:g} {until}"


def _finding(finding: Finding) -> Iterator[str]:
    mark = "<- decides" if finding.decides else ""
    cap = f"cap {finding.cap:g}" if finding.level != "unknown" else "no cap"
    yield f"{finding.level:<8}  {cap:<8}  {finding.text}  {mark}".rstrip()
    unit = f" {finding.unit}" if finding.unit else ""
    steps = [
        f"{step} {finding.passes} {limit:g}{unit}"
        + (f" caps at {finding.caps[step]:g}" if step in finding.caps else "")
        for step, limit in finding.limits.items()
    ]
    said = steps or [f"{key} {_setting(value)}" for key, value in finding.settings.items()]
    yield f"{'':20}since {_at(finding.since)}" + (f"; policy: {', '.join(said)}" if said else "")


def _incident(incident: IncidentSeen) -> Iterator[str]:
    yield f"{incident.family}, root {incident.root}: {incident.text}"
    until = f", resolved {_at(incident.resolved)}" if incident.resolved else ""
    again = f", reopened {incident.reopened} x" if incident.reopened else ""
    evidence = counted(incident.count, "line or finding", "lines and findings")
    yield f"opened {_at(incident.opened)}{until}{again}, {evidence}"
    if incident.corruption:
        yield "outputs may be wrong"
    if incident.gpus:
        yield f"also of {', '.join(incident.gpus)}"
    for each in incident.evidence:
        times = f" x {each.count}" if each.count > 1 else ""
        of = f" of {each.gpu}" if each.gpu else ""
        yield f"{_at(each.first)}  {each.what}{times}{of}: {each.text or each.raw}"


def _xid(xid: XidSeen) -> Iterator[str]:
    name = f"Xid {xid.code}" if xid.fault == "xid" else f"{xid.fault} {xid.code or ''}".strip()
    mnemonic = f" ({xid.mnemonic})" if xid.mnemonic else ""
    times = f", {xid.lines} lines since {_at(xid.first)}" if xid.lines > 1 else ""
    yield f"{_at(xid.last)}  {name}{mnemonic}: {xid.meaning}{times}"
    whose = "; mostly a program's own fault" if xid.application else ""
    nvidia = f"; NVIDIA: {xid.nvidia_action}" if xid.nvidia_action else ""
    yield f"{'':21}{xid.severity}, response {xid.response.replace('_', ' ')}{nvidia}{whose}"


def _prediction(told: Explanation) -> Iterator[str]:
    prediction = told.prediction
    if prediction is None:
        return
    hours = "no failure foreseen" if prediction.hours is None else f"failure in {prediction.hours:.3g} h"
    yield f"{prediction.action}: {hours}, confidence {prediction.confidence:.2g} by {prediction.model}"
    if prediction.text:
        yield prediction.text


def _case(case: CaseSeen) -> Iterator[str]:
    ended = case.state == "in-service"
    state = (
        f"ended {_at(case.changed)}: {case.detail}" if ended else f"{case.step or case.state} since {_at(case.changed)}"
    )
    yield f"opened {_at(case.opened)}  {case.action}: {case.cause}"
    yield f"{state}{f', incident {case.incident}' if case.incident else ''}"
    if case.attempts:
        yield f"reset {case.attempts} x for this fault lately"
    if case.waits:
        until = f"; goes on by itself {_at(case.deadline)}" if case.deadline else ""
        yield f"waits: {case.waits}{until}"


def _revalidations(told: Explanation) -> Iterator[str]:
    for each in told.revalidations:
        start = f"from {_at(each.start)} ({each.since})" if each.start else "from the beginning"
        again = ", not for the first time" if each.repeat else ""
        yield f"{start} to {_at(each.end)}: corruption {each.confidence or 'suspected'}{again}"
        if each.answer:
            yield f"  checked again: {each.answer}"


def _headed(title: str, lines: Iterator[str] | list[str]) -> Iterator[str]:
    """Nothing where there are no lines."""
    found = list(lines)
    if found:
        yield ""
        yield title
        yield from (f"  {line}" for line in found)


def _value(value: float | None, unit: str) -> str:
    return "blank" if value is None else f"{value:.4g} {unit}".rstrip()


def _setting(value: bool | int | float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms > 0 else "the beginning"


def _plain(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line).rstrip()
