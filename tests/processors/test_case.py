"""The case machine: each cell of its table, what holds in every history, and what a broken invariant does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import case
from processors.case import (
    DRAINED,
    DRAINING,
    IN_SERVICE,
    Announce,
    Case,
    Deadline,
    Event,
    Failed,
    Left,
    Recovered,
    RemoveNode,
    Report,
    Restored,
    advance,
    diagram,
)
from processors.cluster_policy import Policy
from schemas.states import Action, CaseState

POLICY = Policy()
SOFT = Failed("G", 1000, action=Action.EVICT, cause="hot")
HARD = Failed("G", 1000, action=Action.EVICT_PERMANENTLY, cause="Xid 64", hard=True)
CORRUPT = Failed("G", 1000, action=Action.EVICT, cause="Xid 48", corruption=True)
NODE = Failed("G", 1000, action=Action.REMOVE_NODE, cause="Xid 79", hard=True)


def after(*events: Event) -> Case:
    at = Case(gpu="G")
    for event in events:
        at, _ = advance(at, event, POLICY)
    return at


HISTORIES = [
    ((SOFT,), DRAINING),
    ((SOFT, SOFT), DRAINING),
    ((SOFT, Deadline("G", 31_000)), DRAINED),
    ((SOFT, Recovered("G", 2000)), IN_SERVICE),
    ((HARD, Recovered("G", 2000)), DRAINING),
    ((CORRUPT, Recovered("G", 2000)), DRAINING),
    ((SOFT, HARD, Recovered("G", 2000)), DRAINING),
    ((HARD, SOFT, Recovered("G", 2000)), DRAINING),
    ((SOFT, CORRUPT, Recovered("G", 2000)), DRAINING),
    ((SOFT, Deadline("G", 31_000), Recovered("G", 32_000)), DRAINED),
    ((SOFT, Deadline("G", 31_000), HARD), DRAINED),
    ((HARD, Restored("G", 2000)), IN_SERVICE),
    ((HARD, Deadline("G", 31_000), Restored("G", 32_000)), IN_SERVICE),
    ((HARD, Restored("G", 2000), SOFT, Recovered("G", 3000)), IN_SERVICE),
    ((HARD, Left("G", 2000)), IN_SERVICE),
    ((HARD, Deadline("G", 31_000), Left("G", 32_000)), IN_SERVICE),
    ((Recovered("G", 1),), IN_SERVICE),
    ((Restored("G", 1),), IN_SERVICE),
    ((Left("G", 1),), IN_SERVICE),
]


@pytest.mark.parametrize(("events", "state"), HISTORIES)
def test_where_events_lead(events: tuple[Event, ...], state: CaseState) -> None:
    assert after(*events).state is state


def test_opening_keeps_what_is_known_and_sets_the_time_to_drain() -> None:
    opened, intents = advance(Case(gpu="G"), HARD, Policy(drain_timeout_s=1.5))
    assert opened == Case(
        gpu="G",
        state=DRAINING,
        action=Action.EVICT_PERMANENTLY,
        cause="Xid 64",
        opened_ms=1000,
        deadline_ms=2500,
        hard=True,
    )
    assert intents == (Announce("Xid 64"),)


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


def test_a_node_goes_once_per_case_and_not_for_a_bystander() -> None:
    opened, intents = advance(Case(gpu="G"), NODE, POLICY)
    assert RemoveNode("Xid 79") in intents
    worse = Failed("G", 2000, action=Action.REMOVE_NODE, cause="Xid 48", corruption=True)
    assert advance(opened, worse, POLICY)[1] == (Announce("Xid 48"),)
    bystander = Failed("G", 1, action=Action.REMOVE_NODE, cause="node removed", hard=True, bystander=True)
    beside, intents = advance(Case(gpu="G"), bystander, POLICY)
    assert intents == (Announce("node removed"),)
    assert RemoveNode("node removed") in advance(beside, NODE, POLICY)[1]


@pytest.mark.parametrize("state", [Case(gpu="G"), after(SOFT, Deadline("G", 31_000))])
def test_a_stray_event_is_reported_and_changes_nothing(state: Case) -> None:
    same, intents = advance(state, Deadline("G", 5), POLICY)
    assert same == state
    assert [type(intent) for intent in intents] == [Report]


def test_an_event_for_another_gpu_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="another GPU"):
        advance(Case(gpu="G"), Recovered("H", 1), POLICY)


def test_a_step_that_leaves_the_table_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(case.TABLE[DRAINING], Recovered, (case.relent, frozenset({DRAINED})))
    with pytest.raises(AssertionError, match="no such move"):
        advance(after(SOFT), Recovered("G", 2), POLICY)


@pytest.mark.parametrize("before", [Case(gpu="G"), after(SOFT), after(SOFT, Deadline("G", 31_000))])
def test_quarantine_is_out_until_an_operator_restores(before: Case) -> None:
    quarantined, _ = case.quarantine(before, 5000, "why")
    assert (quarantined.state, quarantined.firm) == (DRAINED, True)
    assert advance(quarantined, Recovered("G", 6000), POLICY)[0] == quarantined
    assert advance(quarantined, Restored("G", 6000), POLICY)[0].state is IN_SERVICE


AT = st.integers(1, 100_000)
EVENT = st.one_of(
    st.builds(
        Failed,
        st.just("G"),
        AT,
        action=st.sampled_from(Action),
        cause=st.sampled_from(["hot", "Xid 79"]),
        hard=st.booleans(),
        corruption=st.booleans(),
        bystander=st.booleans(),
    ),
    *(st.builds(kind, st.just("G"), AT) for kind in (Recovered, Deadline, Restored, Left)),
)


@given(st.lists(EVENT, max_size=20))
def test_any_history_is_accepted_and_a_firm_case_ends_by_a_word_alone(events: list[Event]) -> None:
    at = Case(gpu="G")
    for event in events:
        then, intents = advance(at, event, POLICY)
        if at.open and not then.open and at.firm:
            assert isinstance(event, Restored | Left)
        assert (then != at) == any(isinstance(intent, Announce) for intent in intents)
        at = then


def test_the_diagram_shows_every_move_of_the_table() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    moves = sum(len(targets) for row in case.TABLE.values() for _, targets in row.values())
    assert sum(" --> " in line for line in lines) == moves + 1  # and the entry
    assert "    draining --> drained: Deadline: the time for requests to finish is over" in lines
