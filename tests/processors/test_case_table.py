"""The table of cases: opening, draining, ending; what holds in every history, and what a broken invariant does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import case_steps, case_table
from processors.case import (
    Admitted,
    Announce,
    Answered,
    Case,
    Deadline,
    Event,
    Failed,
    Held,
    Left,
    Proceed,
    Rebooted,
    Recovered,
    RemoveNode,
    Report,
    Restored,
    Traffic,
    Validated,
    of_one,
)
from processors.case_table import advance, diagram, quarantine
from processors.cluster_policy import Policy, WorkflowPolicy
from schemas.records import CommandResult
from schemas.states import Action, CaseState, Step

POLICY = Policy()
ANSWERED = Policy(workflow=WorkflowPolicy(acknowledged=True))
SOFT = Failed("G", 1000, action=Action.EVICT, cause="hot")
HARD = Failed("G", 1000, action=Action.EVICT_PERMANENTLY, cause="Xid 64", hard=True)
CORRUPT = Failed("G", 1000, action=Action.EVICT, cause="Xid 48", corruption=True)
NODE = Failed("G", 1000, action=Action.REMOVE_NODE, cause="Xid 79", hard=True)
OLD = Failed("G", 100_000, action=Action.EVICT, cause="hot", hard=True, evidence_ms=39_999)


def after(*events: Event, policy: Policy = POLICY) -> Case:
    at = Case(gpu="G")
    for event in events:
        at, _ = advance(at, event, policy)
    return at


def says(state: str, in_flight: int | None, at_ms: int = 2000) -> Traffic:
    return Traffic("G", at_ms, state=state, in_flight=in_flight, scheduler="s")


HISTORIES = [
    ((SOFT,), Step.DRAINING),
    ((SOFT, SOFT), Step.DRAINING),
    ((SOFT, Deadline("G", 31_000)), Step.DRAINED),
    ((SOFT, Recovered("G", 2000)), Step.IN_SERVICE),
    ((HARD, Recovered("G", 2000)), Step.DRAINING),
    ((CORRUPT, Recovered("G", 2000)), Step.DRAINING),
    ((SOFT, HARD, Recovered("G", 2000)), Step.DRAINING),
    ((HARD, SOFT, Recovered("G", 2000)), Step.DRAINING),
    ((SOFT, CORRUPT, Recovered("G", 2000)), Step.DRAINING),
    ((SOFT, Deadline("G", 31_000), Recovered("G", 32_000)), Step.DRAINED),
    ((SOFT, Deadline("G", 31_000), HARD), Step.DRAINED),
    ((HARD, Restored("G", 2000)), Step.IN_SERVICE),
    ((HARD, Deadline("G", 31_000), Restored("G", 32_000)), Step.IN_SERVICE),
    ((HARD, Restored("G", 2000), SOFT, Recovered("G", 3000)), Step.IN_SERVICE),
    ((HARD, Left("G", 2000)), Step.IN_SERVICE),
    ((HARD, Deadline("G", 31_000), Left("G", 32_000)), Step.IN_SERVICE),
    ((Recovered("G", 1),), Step.IN_SERVICE),
    ((Restored("G", 1),), Step.IN_SERVICE),
    ((Left("G", 1),), Step.IN_SERVICE),
    ((SOFT, says("drained", 0)), Step.DRAINING),  # by time alone, where no scheduler is said to answer
]


@pytest.mark.parametrize(("events", "step"), HISTORIES)
def test_where_events_lead(events: tuple[Event, ...], step: Step) -> None:
    assert after(*events).step is step


DRAIN = Deadline("G", 31_000)
ACKNOWLEDGED = [
    ((SOFT, says("serving", 0)), Step.DRAINING),  # idle, but new work may come
    ((SOFT, says("drained", 2)), Step.DRAINING),
    ((SOFT, says("drained", None)), Step.DRAINING),  # it cannot be told: time tells
    ((SOFT, says("drained", 0)), Step.DRAINED),
    ((SOFT, says("removed", None)), Step.DRAINED),
    ((SOFT, says("removed", 1)), Step.DRAINING),
    ((SOFT, says("unknown", None), DRAIN), Step.FORCING),
    ((SOFT, says("drained", 2), DRAIN), Step.FORCING),
    ((SOFT, says("serving", 0), DRAIN), Step.DRAINED),
    ((SOFT, DRAIN, says("drained", 1)), Step.FORCING),
    ((SOFT, DRAIN, says("drained", 0)), Step.DRAINED),
    ((SOFT, DRAIN, Recovered("G", 32_000)), Step.IN_SERVICE),
    ((HARD, DRAIN, Recovered("G", 32_000)), Step.FORCING),
    ((SOFT, DRAIN, Deadline("G", 61_000)), Step.DRAINED),
    ((OLD, says("drained", 2), Deadline("G", 130_000)), Step.DRAINED),  # nobody's work is ended on old evidence
    ((OLD, Proceed("G", 101_000), Deadline("G", 130_000)), Step.FORCING),
]


@pytest.mark.parametrize(("events", "step"), ACKNOWLEDGED)
def test_how_a_drain_ends_where_a_scheduler_answers(events: tuple[Event, ...], step: Step) -> None:
    assert after(*events, policy=ANSWERED).step is step


def test_what_still_runs_is_told() -> None:
    draining, intents = advance(after(SOFT), says("drained", 3), ANSWERED)
    assert (draining.in_flight, intents) == (3, (Announce("s: drained, 3 in flight"),))
    assert advance(draining, says("drained", 3), ANSWERED) == (draining, ())


def test_opening_keeps_what_is_known_and_sets_the_time_to_drain() -> None:
    opened, intents = advance(Case(gpu="G"), HARD, Policy(drain_timeout_s=1.5))
    assert opened == Case(
        gpu="G",
        step=Step.DRAINING,
        action=Action.EVICT_PERMANENTLY,
        cause="Xid 64",
        opened_ms=1000,
        deadline_ms=2500,
        hard=True,
        for_good=True,
    )
    assert intents == (Announce("Xid 64"),)


def test_no_two_cases_of_a_gpu_have_the_same_identity() -> None:
    assert after(SOFT, Restored("G", 1000), SOFT).opened_ms == 1001


@pytest.mark.parametrize(
    ("asked", "done"),
    [
        (Action.NONE, Action.EVICT),
        (Action.MONITOR, Action.EVICT),
        (Action.DRAIN, Action.DRAIN),
        (Action.REMOVE_NODE, Action.REMOVE_NODE),
    ],
)
def test_who_is_taken_out_is_evicted_unless_something_drastic_was_asked_for(asked: Action, done: Action) -> None:
    assert after(Failed("G", 1, action=asked, cause="hot")).action is done


def test_more_evidence_makes_a_case_worse_and_never_milder() -> None:
    worse = after(SOFT, HARD)
    assert (worse.action, worse.hard, worse.cause) == (Action.EVICT_PERMANENTLY, True, "hot")
    assert advance(worse, SOFT, POLICY) == (worse, ())
    assert after(HARD, NODE).permanent


def test_a_node_goes_once_per_case_and_not_for_a_bystander() -> None:
    opened, intents = advance(Case(gpu="G"), NODE, POLICY)
    assert RemoveNode("Xid 79") in intents
    worse = Failed("G", 2000, action=Action.REMOVE_NODE, cause="Xid 48", corruption=True)
    assert advance(opened, worse, POLICY)[1] == (Announce("Xid 48"),)
    bystander = Failed("G", 1, action=Action.REMOVE_NODE, cause="node removed", hard=True, bystander=True)
    beside, intents = advance(Case(gpu="G"), bystander, POLICY)
    assert intents == (Announce("node removed"),)
    assert RemoveNode("node removed") in advance(beside, NODE, POLICY)[1]


WAITS = [
    (SOFT, "actions are not enabled: a reset would follow"),
    (
        Failed("G", 1000, action=Action.EVICT, cause="hot", fault="temperature"),
        "actions are not enabled: a diagnostic ",
    ),
    (HARD, "actions are not enabled: its replacement would follow"),
    (NODE, "actions are not enabled: a reboot of its node would follow"),
    (Failed("G", 1000, action=Action.DRAIN, cause="planned", fault="maintenance"), "the end of planned work"),
]


@pytest.mark.parametrize(("failed", "waits"), WAITS)
def test_a_drained_gpu_says_what_would_follow(failed: Failed, waits: str) -> None:
    drained = after(failed, Deadline("G", 31_000))
    assert drained.waits.startswith(waits)
    assert drained.deadline_ms is None


@pytest.mark.parametrize("state", [Case(gpu="G"), after(SOFT, Deadline("G", 31_000))])
def test_a_stray_event_is_reported_and_changes_nothing(state: Case) -> None:
    same, intents = advance(state, Deadline("G", 5), POLICY)
    assert same == state
    assert [type(intent) for intent in intents] == [Report]


def test_an_event_for_another_gpu_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="another GPU"):
        advance(Case(gpu="G"), Recovered("H", 1), POLICY)


def test_a_step_that_leaves_the_table_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = (case_steps.relent, frozenset({Step.DRAINED}))
    monkeypatch.setitem(case_table.TABLE[Step.DRAINING], Recovered, elsewhere)
    with pytest.raises(AssertionError, match="no such move"):
        advance(after(SOFT), Recovered("G", 2), POLICY)


@pytest.mark.parametrize("before", [Case(gpu="G"), after(SOFT), after(SOFT, Deadline("G", 31_000))])
def test_quarantine_is_out_until_an_operator_restores(before: Case) -> None:
    quarantined, _ = quarantine(before, 5000, "why")
    assert (quarantined.step, quarantined.state, quarantined.firm) == (Step.QUARANTINED, CaseState.DRAINED, True)
    assert quarantined.waits == "an operator: why"
    assert advance(quarantined, Recovered("G", 6000), POLICY)[0] == quarantined
    assert advance(quarantined, Restored("G", 6000), POLICY)[0].step is Step.IN_SERVICE


AT = st.integers(1, 2_000_000)
FAILED = st.builds(
    Failed,
    st.just("G"),
    AT,
    action=st.sampled_from(Action),
    cause=st.sampled_from(["hot", "Xid 79"]),
    fault=st.sampled_from(["temperature", "xid_79", "maintenance"]),
    hard=st.booleans(),
    corruption=st.booleans(),
    bystander=st.booleans(),
    evidence_ms=st.sampled_from([0, 1, 900_000]),
)
RESULT = st.builds(
    CommandResult,
    ts=AT,
    node=st.just("n1"),
    id=st.just("?"),
    action=st.sampled_from(["", "reset", "diagnose"]),
    state=st.sampled_from(
        ["started", "done", "failed", "refused", "dry-run", "indeterminate", "cancelled", "of tomorrow"]
    ),
    reason=st.sampled_from(["", "pass", "fail", "warn", "incomplete", "busy", "action", "signature", "repeated"]),
)
EVENT = st.one_of(
    FAILED,
    *(st.builds(kind, st.just("G"), AT) for kind in (Recovered, Deadline, Restored, Left, Rebooted, Proceed)),
    st.builds(
        Traffic,
        st.just("G"),
        AT,
        state=st.sampled_from(["serving", "drained", "removed", "unknown"]),
        in_flight=st.sampled_from([None, 0, 2]),
    ),
    *[st.builds(Admitted, st.just("G"), AT, boot=st.just("b"), sequence=st.integers(1, 99), tied=st.booleans())] * 3,
    st.builds(Held, st.just("G"), AT, why=st.just("a brake"), until_ms=st.none() | AT),
    *[st.builds(Answered, st.just("G"), AT, result=RESULT)] * 3,
    st.builds(Validated, st.just("G"), AT, result=st.sampled_from(["clean", "corrupt", "unknown"]), end=AT),
)
FLOW = st.builds(
    WorkflowPolicy,
    enabled=st.booleans(),
    acknowledged=st.booleans(),
    attempts_max=st.integers(0, 2),
    order_tries=st.integers(1, 2),
    release=st.sampled_from(["operator", "revalidation", "diagnostic"]),
)


def addressed(event: Event, case: Case) -> Event:
    """An answer names the order that is outstanding, else that which was cancelled, else none of ours."""
    if not isinstance(event, Answered):
        return event
    id_ = case.order.id if case.order else case.cancel or "?"
    result = event.result
    named = CommandResult(
        ts=result.ts, node=result.node, id=id_, action=result.action, state=result.state, reason=result.reason
    )
    return Answered(event.gpu, event.at_ms, result=named)


@given(st.lists(EVENT, max_size=40), FLOW)
def test_any_history_is_accepted_and_a_firm_case_ends_as_it_must(events: list[Event], flow: WorkflowPolicy) -> None:
    at, policy = Case(gpu="G"), Policy(workflow=flow)
    for event in events:
        event = addressed(event, at)
        then, intents = advance(at, event, policy)
        if at.open and not then.open and at.firm:
            assert isinstance(event, Restored | Left) or at.step is Step.PROBATION
        assert (then != at) == any(isinstance(intent, Announce) for intent in intents)
        if then.order and not at.order:
            assert isinstance(event, Admitted)
            assert then.order.id != at.cancel
        if at.order and not then.order:
            assert then.cancel == at.order.id or (isinstance(event, Answered) and event.result.id == at.order.id)
        at = then


OPENED = st.builds(lambda first, more: [first, *more], FAILED, st.lists(EVENT, max_size=6))


@given(OPENED, OPENED, FLOW)
def test_two_cases_of_one_gpu_are_none_milder_than_either(
    one: list[Event], other: list[Event], flow: WorkflowPolicy
) -> None:
    policy = Policy(workflow=flow)
    both = [Case(gpu="G"), Case(gpu="G")]
    for number, events in enumerate((one, other)):
        for event in events:
            both[number], _ = advance(both[number], addressed(event, both[number]), policy)
    found, opened = of_one("G", *both), [case for case in both if case.open]
    assert found.open is bool(opened)
    for case in opened:
        assert found.firm >= case.firm
        assert found.permanent >= case.permanent
        assert found.tainted >= case.tainted
        assert found.unreleased(policy) >= case.unreleased(policy), "it comes back before somebody vouches for it"
        assert found.bystander <= case.bystander, "its own fault is not mended by its node's reboot"
        assert found.stale <= case.stale, "fresh evidence will do"
    assert of_one("G", both[0]) == both[0]


def test_the_diagram_shows_every_move_of_the_table() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    moves = {(at, to) for at, row in case_table.TABLE.items() for _, targets in row.values() for to in targets - {at}}
    assert sum(" --> " in line for line in lines) == len(moves) + 1  # and the entry
    assert "    draining --> in_service: Recovered, Restored, Left" in lines
