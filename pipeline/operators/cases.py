"""The GPUs that are out of service or wait to be, and the brakes, as a log's newest records say."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline.history import Asked, History
from schemas.log import Record
from schemas.operator_keys import in_utc
from schemas.records import Brakes, BudgetUse, Decision, Eviction, gpu_key
from schemas.states import CaseState
from schemas.topics import BRAKES, DECISIONS, EVICTIONS

PASSED = (
    "the budget holds back only what can wait: hard faults, suspected corruption and operators' drains go out "
    "regardless, and count, as do GPUs of which nothing is known"
)


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One GPU. step: of its case; "waits" where it has none yet. since: ms. waits: what the next step waits for.

    held_by: what keeps its case from opening, or "override". weight: as decided.
    """

    gpu: str
    node: str
    step: str
    since: int
    action: str
    weight: float | None = None
    cause: str = ""
    waits: str = ""
    deadline: int | None = None
    attempts: int = 0
    held_by: str = ""


class Cases(msgspec.Struct, kw_only=True):
    """gpus: by node and name. brakes: one for each cluster."""

    gpus: list[Row]
    brakes: list[Brakes]


def read(history: History) -> Cases:
    """Raises UsageProblem: it cannot be read."""
    evictions: dict[str, Eviction] = {}
    decisions: dict[str, Decision] = {}
    brakes: dict[str, Brakes] = {}

    def take(topic: str, record: Record) -> None:
        known, decode = {
            EVICTIONS: (evictions, _eviction),
            DECISIONS: (decisions, _decision),
            BRAKES: (brakes, _brakes),
        }[topic]
        known.pop(record.key, None)  # type: ignore[attr-defined]
        if record.value:
            known[record.key] = decode(record.value)  # type: ignore[index]

    history.read([Asked(EVICTIONS), Asked(DECISIONS), Asked(BRAKES)], take)
    rows = list(_rows(evictions, decisions))
    return Cases(gpus=sorted(rows, key=lambda row: (row.node, row.gpu)), brakes=[brakes[key] for key in sorted(brakes)])


def _rows(evictions: dict[str, Eviction], decisions: dict[str, Decision]) -> Iterator[Row]:
    for key, case in evictions.items():
        if case.state is CaseState.IN_SERVICE:
            continue
        decision = decisions.get(key)
        yield Row(
            gpu=gpu_key(case.node, case.uuid, case.bdf),
            node=case.node,
            step=(case.step or case.state).value,
            since=case.opened,
            action=case.action.value,
            weight=None if decision is None else decision.weight,
            cause=case.cause,
            waits=case.waits,
            deadline=case.deadline,
            attempts=case.attempts,
        )
    for key, decision in decisions.items():
        if decision.held_by:
            yield Row(
                gpu=key,
                node=decision.node,
                step=decision.held_by if decision.held_by == "override" else "waits",
                since=decision.ts,
                action=decision.action.value,
                weight=decision.weight,
                cause=decision.cause or "; ".join(reason.text or reason.signal for reason in decision.reasons),
                held_by=decision.held_by,
            )


def table(cases: Cases) -> Iterator[str]:
    """For people: the brakes first, then a line for each GPU."""
    for each in cases.brakes:
        yield from _brakes_lines(each)
    if not cases.gpus:
        yield "no GPU is out of service, and none waits to be"
        return
    rows = [("GPU", "NODE", "STEP", "SINCE", "ACTION", "TRIES", "HELD BY", "DEADLINE", "CAUSE; WAITS FOR")]
    for row in cases.gpus:
        why = "; ".join(each for each in (row.cause, row.waits) if each)
        deadline = "" if row.deadline is None else in_utc(row.deadline)
        tries = str(row.attempts or "")
        rows.append((row.gpu, row.node, row.step, in_utc(row.since), row.action, tries, row.held_by, deadline, why))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    for line in rows:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False) if width]
        yield "  ".join([*cells, line[-1]]).rstrip()


def _brakes_lines(brakes: Brakes) -> Iterator[str]:
    name = f"cluster {brakes.cluster}"
    if brakes.storm:
        yield f"{name}: STORM since {in_utc(brakes.storm)}: {brakes.why}; `gpu-vitals release --all` ends it"
    yield f"{name}: {', '.join(map(_used, brakes.budgets))}"
    if any(_is_passed(use) for use in brakes.budgets if use.name != "steps" and not use.name.startswith("steps ")):
        yield f"{name}: {PASSED}"
    if brakes.waiting:
        yield f"{name}: waiting: {_counts(brakes.waiting)}; would be done: {_counts(brakes.would)}"
    for word in brakes.standing:
        until = f"until {in_utc(word.until)}" if word.until else "until it is ended"
        weight = "" if word.weight is None else f" {word.weight:g}"
        by = word.author if word.verified else f"{word.author} (unverified)"
        note = f": {word.note}" if word.note else ""
        yield f"{name}: {word.what}{weight} of {word.scope} {until}, by {by} at {in_utc(word.since)}{note}"


def _used(use: BudgetUse) -> str:
    if use.limit is None:
        return f"{use.name} {use.used}"
    return f"{use.name} {use.used} (budget {use.limit})" if _is_passed(use) else f"{use.name} {use.used} of {use.limit}"


def _is_passed(use: BudgetUse) -> bool:
    return use.limit is not None and use.used > use.limit


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


_eviction = msgspec.json.Decoder(Eviction).decode
_decision = msgspec.json.Decoder(Decision).decode
_brakes = msgspec.json.Decoder(Brakes).decode
