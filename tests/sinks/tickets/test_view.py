"""Which tickets there should be: from records as the stages write them."""

from __future__ import annotations

import pytest

from schemas import topics
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
