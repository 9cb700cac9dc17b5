from __future__ import annotations

from typing import Any

import pytest

from schemas.alerts import alert_id, needs_person, orders
from schemas.records import Eviction
from schemas.states import Action, CaseState, Step


def case(fault: str, action: Action = Action.EVICT, **others: Any) -> Eviction:
    told: dict[str, Any] = {"node": "n1", "uuid": "GPU-1", "opened": 5, **others}
    return Eviction(ts=1, cluster="c", state=CaseState.DRAINING, action=action, cause="why", fault=fault, **told)


@pytest.mark.parametrize(
    ("fault", "action", "expected"),
    [
        ("xid_48", Action.EVICT, True),
        ("xid_79", Action.REMOVE_NODE, True),
        ("correctable_ecc", Action.EVICT, True),
        ("presence", Action.EVICT, True),
        ("node_removed", Action.EVICT, False),  # a neighbour
        ("node_removed", Action.REMOVE_NODE, False),
        ("xid_31", Action.EVICT, False),  # a program's own fault: drains, and comes back by itself
        ("xid_43", Action.EVICT, False),
        ("xid_31", Action.EVICT_PERMANENTLY, True),  # what does not come back needs somebody
        ("xid_99999", Action.EVICT, True),  # a code that nobody has described
        ("xid_rate", Action.EVICT, True),  # a signal's name that begins like a code
        ("", Action.EVICT, True),
    ],
)
def test_who_needs_a_person(fault: str, action: Action, expected: bool) -> None:
    assert needs_person(case(fault, action)) is expected


def test_a_node_that_goes_at_once_is_one_alert() -> None:
    first, second = case("presence"), case("presence", uuid="GPU-2")
    assert alert_id(first) == alert_id(second)
    assert alert_id(first) != alert_id(case("presence", opened=6))
    assert alert_id(first) != alert_id(case("presence", node="n2"))


@pytest.mark.parametrize(
    ("action", "expected"),
    [("monitor", False), ("", False), ("order-replacement", True), ("schedule-maintenance", True), ("evict-now", True)],
)
def test_predictions_that_order_something_are_alerts(action: str, expected: bool) -> None:
    assert orders(action) is expected


@pytest.mark.parametrize(
    ("step", "fault", "others", "expected"),
    [
        (Step.DRAINING, "xid_119", {}, False),
        (Step.DRAINING, "xid_64", {"action": Action.EVICT_PERMANENTLY}, True),
        (Step.PROBATION, "xid_119", {}, False),
        (Step.RMA, "xid_31", {}, True),
        (Step.QUARANTINED, "xid_119", {}, True),
        (Step.QUARANTINED, "maintenance", {}, False),
        (Step.DRAINED, "xid_119", {"waits": "actions are not enabled: a reset would follow"}, True),
        (Step.DRAINED, "xid_31", {"waits": "actions are not enabled: a reset would follow"}, False),
        (Step.DRAINED, "xid_31", {"waits": "an operator"}, True),
        (Step.PROBATION, "xid_48", {"waits": "the check of its outputs, or an operator's proceed"}, False),
        (Step.PROBATION, "xid_48", {"waits": "an operator's proceed or restore: its outputs may be wrong"}, True),
        (Step.PROBATION, "xid_119", {"waits": "a judgement that finds it fit"}, False),
        (Step.RESETTING, "xid_119", {"waits": "its order"}, False),
        (Step.RESETTING, "xid_119", {"waits": "n1 has to be rebooted"}, True),
        (Step.RESETTING, "xid_31", {"waits": "n1 has to be rebooted"}, True),
        (Step.IN_SERVICE, "xid_48", {}, False),
        (Step.DRAINING, "xid_119", {"by_hand": True}, True),
        (Step.DRAINING, "xid_31", {"by_hand": True}, False),
    ],
)
def test_who_needs_a_person_while_a_workflow_runs(
    step: Step, fault: str, others: dict[str, Any], expected: bool
) -> None:
    assert needs_person(case(fault, **({"step": step} | others))) is expected
