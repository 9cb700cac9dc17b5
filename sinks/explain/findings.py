"""How a score came about: what each signal found, which cap decided, and what the policy's steps are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.records import Decision, Reason, Score
from schemas.states import CaseState, Condition
from sinks.explain.model import Finding, Hysteresis, Scored

RECOVERING = "recovering"  # the reason that the node stage gives while a better score has not lasted yet
STEPS = ("warning", "critical", "evict")

SCALARS = (bool, int, float, str)

Document = Mapping[str, Any]  # of a policy


def scored(score: Score, ts: int, policy: Document | None) -> Scored:
    """policy: None where its text is not kept any more."""
    return Scored(
        ts=ts,
        score=score.score,
        held=score.held,
        condition=str(score.condition),
        findings=[_finding(reason, score, policy) for reason in score.reasons if reason.signal != RECOVERING],
        hysteresis=_hysteresis(score, policy),
    )


def because(decision: Decision | None, score: Score | None) -> str:
    """Why the weight is what it is, in a sentence."""
    if decision is None:
        return "nothing is decided about this GPU: schedulers know no weight of it"
    weight = f"weight {decision.weight:g}"
    if decision.state is not CaseState.IN_SERVICE:
        still = ""
        if score and score.condition is Condition.HEALTHY:
            still = f"; its score is {score.score:g} by now, but the case is still open"
        return f"{weight}: its case is {decision.state}: {decision.cause or decision.action}{still}"
    lowest = min(decision.reasons, key=lambda reason: reason.cap, default=None)
    why = f": {lowest.text or lowest.signal}" if lowest else ""
    if decision.held_by:
        return f"{weight}: it would be taken out ({decision.action}), which is held back by {decision.held_by}{why}"
    if decision.condition is Condition.UNKNOWN:
        return f"{weight}: nobody can tell how it is, and the last known weight stays{why}"
    counts_as = score.held if score else decision.score
    if decision.weight < 1.0:
        return f"{weight}: it counts as {counts_as:g}{why}"
    if lowest is not None and lowest.cap < 1.0:
        return f"{weight}: it counts as {counts_as:g}, which takes no traffic away{why}"
    return f"{weight}: no signal finds anything wrong"


def _finding(reason: Reason, score: Score, policy: Document | None) -> Finding:
    own = _of_signal(policy, reason.signal)
    limits = own.get("limits") or {}
    return Finding(
        signal=reason.signal,
        level=reason.level,
        cap=reason.cap,
        decides=reason.level != "unknown" and reason.cap == score.score,
        text=reason.text or f"{reason.signal}: {reason.level}",
        since=reason.since,
        quantity=reason.quantity,
        value=reason.value,
        unit=reason.unit,
        limit=reason.limit,
        limits=_steps(limits),
        caps=_steps(own.get("caps") or {}),
        passes=_passes(limits) if limits else "",
        settings={key: value for key, value in own.items() if key != "enabled" and isinstance(value, SCALARS)},
    )


def _hysteresis(score: Score, policy: Document | None) -> Hysteresis | None:
    recovering = next((reason for reason in score.reasons if reason.signal == RECOVERING), None)
    if recovering is None:
        return None
    wait_s = (policy or {}).get("node", {}).get("improve_after_s")
    until = recovering.since + round(1000 * wait_s) if wait_s is not None else 0
    return Hysteresis(since=recovering.since, counts_as=score.held, until=until)


def _of_signal(policy: Document | None, signal: str) -> Document:
    found: Document = (policy or {}).get("signals", {}).get(signal, {})
    return found


def _passes(limits: Document) -> str:
    return ("<" if limits.get("falling") else ">") + ("=" if limits.get("inclusive") else "")


def _steps(values: Mapping[str, Any]) -> dict[str, float]:
    return {step: values[step] for step in STEPS if values.get(step) is not None}
