"""What a record asks for is what an agent would do, and nothing else; what none would do is told apart."""

from __future__ import annotations

import msgspec
import pytest

from schemas import fencing
from schemas.commands import CANCEL
from schemas.fencing import LIFE_MS_MAX, SKEW_MS, Heard, Here
from sinks.commander.asked import asked, why_not
from tests.sinks.commander.cases import LIFE_MS, NOW, eviction, order

HERE = Here("n1", "c1", "b1", {"GPU-1": "0000:11:00"})


def test_an_order_becomes_the_command_of_its_own_id_for_this_gpu_in_this_boot():
    (command,) = asked(eviction(order=order("o1", "diagnose", level=3)))
    assert (command.id, command.action, command.parameters) == ("o1", "diagnose", {"level": 3})
    assert (command.cluster, command.node, command.uuid, command.bdf) == ("c1", "n1", "GPU-1", "0000:11:00")
    assert (command.boot, command.sequence, command.expires) == ("b1", NOW, NOW + LIFE_MS)
    assert (command.author, command.case) == ("gpu-vitals", "inc-1")
    assert fencing.impossible(command, HERE) is None
    assert fencing.untimely(command, NOW) is None
    assert fencing.repeated(command, Heard(NOW - 1, ()), NOW) is None


def test_a_case_without_an_incident_is_named_by_its_gpu_and_when_it_was_opened():
    (command,) = asked(eviction(order=order(), incident=""))
    assert command.case == f"GPU-1@{NOW - 60_000}"


@pytest.mark.parametrize("late_ms", [0, 1, 300_000])
def test_a_cancellation_outranks_its_order_and_lives_as_long_as_that_may(late_ms):
    (ordered,) = asked(eviction(order=order()))
    (cancel,) = asked(eviction(ts=NOW + late_ms, cancel="o1"))
    assert (cancel.id, cancel.action, cancel.parameters) == ("o1.cancel", CANCEL, {"command": "o1"})
    assert cancel.sequence > ordered.sequence
    assert cancel.expires >= ordered.ts + LIFE_MS_MAX
    assert why_not(cancel, NOW + late_ms) == ""
    assert fencing.repeated(cancel, Heard(ordered.sequence, {"o1"}), NOW + late_ms) is None


def test_a_cancellation_outranks_even_an_order_whose_number_is_ahead_of_its_time():
    (cancel,) = asked(eviction(cancel="o1"), ordered=NOW + 7)
    assert cancel.sequence == NOW + 8


def test_nothing_is_asked_for_where_no_order_stands():
    assert asked(eviction()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"expires": NOW}, "expired"),
        ({"expires": 0}, "expiry"),
        ({"expires": NOW + LIFE_MS_MAX + 1}, "expiry"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": NOW + SKEW_MS + 1}, "sequence"),
        ({"boot": ""}, "boot"),
        ({"uuid": ""}, "gpu"),
        ({"id": ""}, "malformed"),
        ({"action": "format"}, "action"),
    ],
)
def test_what_no_agent_would_do_is_not_sent(changes, reason):
    (command,) = asked(eviction(order=order()))
    assert why_not(msgspec.structs.replace(command, **changes), NOW) == reason


def test_a_clock_of_ours_that_is_behind_holds_nothing_back():
    (command,) = asked(eviction(order=order()))
    assert why_not(command, NOW - 10 * SKEW_MS) == ""
