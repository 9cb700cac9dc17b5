"""Which tickets there should be: from records as the stages write them."""

from __future__ import annotations

import pytest

from schemas import topics
from schemas.states import Step
from sinks.tickets.ticket import Check
from sinks.tickets.view import View
from tests.sinks.tickets.world import ID, T, Topics

NAME = ("c1", ID)
OTHER = "b1/0000:02:00/bus/1767603600000"


def view(of, log=None):
    made = View()
    for topic, record in log or of.log:
        made.take(topic, record)
    return made


def asked_for(of):
    """Every ticket that the log asks for, by name."""
    made = view(of)
    return {name: ticket for name in made.changed() if (ticket := made.ticket(name))}


@pytest.mark.parametrize("fault", ["maintenance", "node_removed"])
def test_what_is_as_planned_needs_no_ticket(fault):
    of = Topics()
    of.case(fault=fault)
    assert asked_for(of) == {}


def test_a_program_that_failed_needs_no_ticket_unless_the_answer_was_graver():
    of = Topics()
    of.case(fault="xid_31")
    assert asked_for(of) == {}
    of.case(fault="xid_31", action="evict-permanently", after_s=1)
    assert asked_for(of)[NAME].is_open
    of.case(fault="xid_31", action="evict", after_s=2)
    assert asked_for(of)[NAME].is_open, "a case that has needed a person needs one until it is over"


@pytest.mark.parametrize("state", ["draining", "drained", "resetting", "rma", "whatever comes"])
def test_a_state_that_is_not_known_to_be_over_is_open(state):
    of = Topics()
    of.case(state=state)
    assert asked_for(of)[NAME].is_open
    assert asked_for(of)[NAME].gpus[0].state == state


def test_an_action_that_nobody_knows_needs_a_person_and_is_urgent():
    of = Topics()
    of.case()
    topic, record = of.log.pop()
    of.log.append((topic, record._replace(value=record.value.replace(b'"evict"', b'"replace-rack"'))))
    ticket = asked_for(of)[NAME]
    assert (ticket.action, ticket.priority, ticket.is_open) == ("replace-rack", 2, True)


def test_cases_of_one_incident_are_one_ticket_and_it_is_open_while_one_of_them_is():
    of = Topics()
    of.case(gpu=1)
    of.case(gpu=2, action="evict-permanently", after_s=5)
    (ticket,) = asked_for(of).values()
    assert [gpu.uuid for gpu in ticket.gpus] == ["GPU-1", "GPU-2"]
    assert (ticket.action, ticket.priority) == ("evict-permanently", 2)
    of.case(gpu=2, state="in-service", action="evict-permanently", detail="restored by ann", after_s=9)
    assert asked_for(of)[NAME].is_open
    of.case(gpu=1, state="in-service", detail="recovered", after_s=10)
    assert not asked_for(of)[NAME].is_open
    assert asked_for(of)[NAME].closed_because == "recovered"


def test_without_an_incident_a_node_and_a_moment_are_one_ticket():
    of = Topics()
    of.case(gpu=1, incident="")
    of.case(gpu=2, incident="")
    of.case(gpu=3, incident="", opened=T + 1)
    assert sorted(asked_for(of)) == [("c1", f"b1/{T}"), ("c1", f"b1/{T + 1}")]


def test_the_same_incident_in_another_cluster_is_another_ticket():
    of = Topics()
    of.case(gpu=1)
    of.case(gpu=2, cluster="c2")
    assert sorted(asked_for(of)) == [NAME, ("c2", ID)]


def test_a_tombstone_leaves_nothing_to_ask_for():
    of = Topics()
    of.case()
    of.add(topics.EVICTIONS, "GPU-1", None)
    made = view(of)
    assert NAME in made.changed()
    assert made.ticket(NAME) is None


def test_gpus_that_only_go_with_their_node_are_named_and_do_not_keep_it_open():
    of = Topics()
    of.case(gpu=1, action="remove-node")
    of.case(gpu=2, fault="node_removed")
    assert [(gpu.uuid, gpu.planned) for gpu in asked_for(of)[NAME].gpus] == [("GPU-1", False), ("GPU-2", True)]
    of.case(gpu=1, state="in-service", action="remove-node", after_s=1)
    assert not asked_for(of)[NAME].is_open


def test_an_incident_that_is_over_leaves_the_ticket_of_a_gpu_that_is_still_out():
    of = Topics()
    of.case(state="drained")
    of.incident(state="resolved", resolved=T + 1000)
    ticket = asked_for(of)[NAME]
    assert (ticket.is_open, ticket.resolved) == (True, T + 1000)


@pytest.mark.parametrize("incident_first", [True, False])
def test_an_incident_that_is_part_of_another_has_its_cases_there(incident_first):
    of = Topics()
    steps = [lambda: of.case(gpu=1), lambda: of.incident(state="resolved", resolved=T, into=OTHER)]
    for step in reversed(steps) if incident_first else steps:
        step()
    of.case(gpu=2, incident=OTHER)
    made = view(of)
    assert {NAME, ("c1", OTHER)} <= set(made.changed())
    assert made.ticket(NAME) is None
    assert [gpu.uuid for gpu in made.ticket(("c1", OTHER)).gpus] == ["GPU-1", "GPU-2"]
    assert made.part_of(NAME) == OTHER


def test_one_that_turns_out_to_be_its_own_again_has_its_ticket_back():
    of = Topics()
    of.case(gpu=1)
    of.incident(into=OTHER)
    of.incident()
    made = view(of)
    assert {NAME, ("c1", OTHER)} <= set(made.changed())
    assert made.ticket(NAME).is_open
    assert made.ticket(("c1", OTHER)) is None


def test_predictions_that_order_something_are_one_ticket_for_each_gpu_and_order():
    of = Topics()
    of.order(gpu=1, action="monitor")
    assert asked_for(of) == {}
    of.order(gpu=1)
    of.order(gpu=2)
    of.order(gpu=2, hours=30.0)
    assert sorted(ticket.id for ticket in asked_for(of).values()) == [
        "prediction:GPU-1/order-replacement",
        "prediction:GPU-2/order-replacement",
    ]
    of.order(gpu=1, action="evict-now")
    of.order(gpu=2, action=None)
    (ticket,) = asked_for(of).values()
    assert (ticket.id, ticket.priority) == ("prediction:GPU-1/evict-now", 2)


def test_only_windows_of_this_incident_are_to_be_checked():
    of = Topics()
    of.case()
    of.check(start=T - 90_000, end=T - 80_000, detected=T - 80_000)
    of.check()
    of.check(end=T + 5_000)  # the same episode, longer
    assert asked_for(of)[NAME].checks == [Check(gpu="GPU-1", start=T - 33_000, end=T + 5_000, confidence="confirmed")]


def test_what_comes_later_on_other_topics_changes_the_ticket():
    of = Topics()
    of.case()
    for add in (of.inventory, of.check, of.incident):
        add()
        made = view(of, of.log[:-1])
        before, _ = made.ticket(NAME), made.changed()
        made.take(*of.log[-1])
        assert NAME in made.changed()
        assert made.ticket(NAME) != before


WAITS_FOR_OPERATOR = "an operator's word: its outputs may be wrong"


def worked_on(of, *steps, fault="xid_119", **more):
    """A case that the workflow takes through these steps, a minute each; the last one as `more` says."""
    for at, step in enumerate(steps):
        last = more if at == len(steps) - 1 else {}
        of.case(state=str(Step(step).state), step=Step(step), fault=fault, after_s=60 * at, **last)


UNTIL_WELL = ("draining", "forcing", "drained", "removing", "resetting", "diagnosing", "probation", "in-service")


@pytest.mark.parametrize("steps", range(1, len(UNTIL_WELL) + 1))
def test_a_case_that_is_worked_on_by_itself_has_no_ticket(steps):
    of = Topics()
    worked_on(of, *UNTIL_WELL[:steps], waits="budget: 3 of 3 GPUs are out")
    assert asked_for(of) == {}


def test_a_gpu_that_is_to_be_replaced_has_an_urgent_ticket_with_what_was_tried():
    of = Topics()
    of.inventory()
    worked_on(of, "draining", "resetting", "diagnosing")
    of.case(
        step=Step.RMA,
        state="drained",
        fault="xid_119",
        attempts=3,
        detail="dcgmi diag -r 2: memory failed",
        after_s=400,
    )
    ticket = asked_for(of)[NAME]
    assert (ticket.action, ticket.priority, ticket.is_open) == ("replace", 2, True)
    assert ticket.title == "b1 0000:01:00: replace: Xid 48: double-bit ECC error"
    assert (ticket.gpus[0].serial, ticket.gpus[0].step, ticket.gpus[0].attempts) == ("1601", "rma", 3)
    assert [line.text for line in ticket.tried] == [
        "draining: Xid 48: double-bit ECC error",
        "resetting: Xid 48: double-bit ECC error",
        "diagnosing: Xid 48: double-bit ECC error",
        "rma: dcgmi diag -r 2: memory failed; reset 3 x",
    ]
    of.case(step=Step.IN_SERVICE, state="in-service", detail="restored by ann", fault="xid_119", after_s=9000)
    ticket = asked_for(of)[NAME]
    assert (ticket.is_open, ticket.closed_because) == (False, "restored by ann")


@pytest.mark.parametrize("fault", ["xid_31", "xid_43", "xid_119"])
def test_what_no_reset_has_mended_needs_a_person_whatever_it_was(fault):
    of = Topics()
    worked_on(of, "draining", "resetting", "quarantined", fault=fault, attempts=3, waits=WAITS_FOR_OPERATOR)
    ticket = asked_for(of)[NAME]
    assert (ticket.action, ticket.is_open, ticket.gpus[0].waits) == ("evict", True, WAITS_FOR_OPERATOR)


@pytest.mark.parametrize("fault", ["xid_48", "correctable_ecc", "presence"])
def test_where_actions_are_not_enabled_a_drained_gpu_has_a_ticket(fault):
    of = Topics()
    worked_on(of, "draining", "drained", fault=fault, waits="actions are not enabled: a reset would follow")
    assert asked_for(of)[NAME].is_open


@pytest.mark.parametrize(
    ("waits", "deadline", "needed"),
    [
        (WAITS_FOR_OPERATOR, None, True),
        (WAITS_FOR_OPERATOR, T + 61_000, False),  # it goes on by itself before long
        (WAITS_FOR_OPERATOR, T + 60_000, True),
        ("storm", None, False),
        ("its cool-down after the last reset", None, False),
        ("evidence of the last minute, or an operator's proceed", None, True),  # it may never come
        ("words of a newer version", None, True),
        ("words of a newer version", T + 61_000, False),
        ("", None, False),  # nothing is in its way
    ],
)
def test_a_drained_gpu_that_nothing_moves_by_itself_needs_a_person(waits, deadline, needed):
    of = Topics()
    worked_on(of, "draining", "drained", waits=waits, deadline=deadline)
    assert bool(asked_for(of)) is needed


def test_one_that_is_worked_on_does_not_keep_the_ticket_of_another_one_open():
    of = Topics()
    of.case(gpu=1, action="evict-permanently", step=Step.RMA, state="drained")
    of.case(gpu=2, step=Step.RESETTING, state="drained")
    ticket = asked_for(of)[NAME]
    assert [(gpu.uuid, gpu.planned, gpu.step) for gpu in ticket.gpus] == [
        ("GPU-1", False, "rma"),
        ("GPU-2", False, "resetting"),
    ]
    of.case(gpu=1, action="evict-permanently", step=Step.IN_SERVICE, state="in-service", after_s=1)
    assert not asked_for(of)[NAME].is_open


def test_numbers_that_change_while_a_case_waits_are_no_new_step():
    of = Topics()
    for left in (9, 5, 1):
        of.case(step=Step.DRAINING, waits=f"{left} requests in flight", action="remove-node", after_s=9 - left)
    assert [line.text for line in asked_for(of)[NAME].tried] == ["draining: waits: 9 requests in flight"]


def test_outputs_that_were_found_right_are_not_urgent_any_more():
    of = Topics()
    of.case()
    of.check()
    of.answer(result="corrupt", checked=812, wrong=3, author="store-1")
    ticket = asked_for(of)[NAME]
    assert (ticket.priority, ticket.checks[0].answer) == (2, "corrupt, 3 of 812 outputs wrong, by store-1")
    of.answer()
    ticket = asked_for(of)[NAME]
    assert (ticket.priority, ticket.checks[0].result) == (3, "clean")
    of.check(end=T + 5_000)
    ticket = asked_for(of)[NAME]
    assert (ticket.priority, ticket.checks[0].result) == (2, "")
