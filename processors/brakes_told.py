"""What readers are told of the brakes: words and storms at once, counts every few seconds; what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from processors import budget
from processors.brakes import Brakes
from processors.case import drastic
from schemas.records import Brakes as Told
from schemas.records import BudgetUse

EVERY_MS = 5000  # of the stream clock: counts change all the time
UNITS_MAX = 32  # units that are used up, in one record
STANDING_MAX = 256  # operators' words, in one record


def look(brakes: Brakes, now_ms: int, policy_id: str) -> Told | None:
    """The record to say now, which then counts as said; None: nothing is new, or it is not yet time for it."""
    news, brakes.news = brakes.news, ""
    if not news and now_ms < brakes.looked_ms + EVERY_MS:
        return None
    brakes.looked_ms = now_ms
    before = brakes.said
    told = _now(brakes, now_ms, news or (before.detail if before else ""), policy_id)
    if before is None and not (news or told.waiting or any(use.used for use in told.budgets)):
        return None
    if before is not None and msgspec.structs.replace(before, ts=now_ms) == told:
        return None
    brakes.said = told
    return told


def _now(brakes: Brakes, now_ms: int, detail: str, policy_id: str) -> Told:
    fleet = brakes.fleet
    waiting = {held_by: len(fleet.held[held_by]) for held_by in sorted(fleet.held)}
    would = Counter(drastic(fleet.members[key].change.action).value for keys in fleet.held.values() for key in keys)
    words = [word for key in sorted(fleet.standing) for word in fleet.members[key].words]
    standing = [*(brakes.holds[scope] for scope in sorted(brakes.holds)), *dict.fromkeys(words)]  # each once
    return Told(
        ts=now_ms,
        cluster=brakes.cluster,
        storm=brakes.storm.since_ms,
        why=brakes.storm.why,
        waiting=waiting,
        would=dict(sorted(would.items())),
        standing=standing[:STANDING_MAX],
        more_standing=max(len(standing) - STANDING_MAX, 0),
        budgets=list(_budgets(brakes)),
        detail=detail,
        policy=policy_id,
    )


def _budgets(brakes: Brakes) -> Iterator[BudgetUse]:
    tally, policy = brakes.fleet.tally, brakes.policy
    yield BudgetUse(name="out", used=len(tally.out), limit=budget.limit(len(brakes.fleet.members), policy))
    nodes = budget.nodes_limit(brakes.fleet.nodes_known, policy.budgets)
    if nodes is not None:
        yield BudgetUse(name="nodes out", used=tally.out.kinds.get("node", 0), limit=nodes)
    yield BudgetUse(name="steps", used=len(tally.steps), limit=policy.steps.gpus_max)
    used_up = []
    for name, ledger, limits in (("out", tally.out, policy.budgets), ("steps", tally.steps, policy.steps)):
        for unit, used in ledger.used.items():
            most = budget.unit_limit(unit.kind, limits)
            if most is not None and used >= most:
                used_up.append(BudgetUse(name=f"{name} {unit}", used=used, limit=most))
    yield from sorted(used_up, key=lambda use: use.name)[:UNITS_MAX]
