"""What an Xid said survives as numbers, and policies answer it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.policy import from_document
from processors.xid_facts import HOURS_MAX, Fact, answer
from schemas.records import KernelFault
from schemas.states import Action, Level
from schemas.xid import XidResponse


def policy(**xid: Any) -> Any:
    return from_document("x", {"signals": {"xid": xid}}).signal("xid")


@given(
    st.integers(0, 2**31 - 1),
    st.integers(-1, 126),
    st.integers(-1, 6),
    st.none() | st.integers(0, HOURS_MAX - 1),
    st.booleans(),
    st.text(max_size=40),
)
def test_a_fact_survives_as_numbers(
    code: int, named: int, stronger: int, hours: int | None, shared: bool, process: str
) -> None:
    said = KernelFault(ts=0, node="n", fault="xid", code=code, process=process.replace("\0", ""))
    fact = Fact(code, named, stronger, hours, shared, Fact.of(said, code).process)
    numbers = fact.packed()
    assert Fact.unpacked(*numbers) == fact
    assert all(-(2**63) <= number < 2**63 for number in numbers)
    assert numbers[0] > 0 or fact == Fact(0, process=fact.process)


def test_a_process_is_known_by_the_first_sixteen_bytes_of_its_name() -> None:
    said = KernelFault(ts=0, node="n", fault="xid", code=31, process="VLLM::Worker_TP0_of_many")
    assert Fact.of(said, 31).process == "VLLM::Worker_TP0"


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68, 69, 109])
@pytest.mark.parametrize("response", [XidResponse.MONITOR, XidResponse.LOWER_SCORE, XidResponse.EVICT])
def test_all_applications_faults_can_be_answered_alike(code: int, response: XidResponse) -> None:
    expected = {"monitor": Level.FINE, "lower_score": Level.WARNING, "evict": Level.EVICT}[response]
    assert answer(policy(application_response=response), Fact(code)).level is expected


@pytest.mark.parametrize("code", [46, 48, 63, 64, 74, 79, 94, 95, 119, 154])
def test_the_faults_of_gpus_cannot_be_demoted(code: int) -> None:
    mild = policy(application_response="monitor", demote=[{"process": "*", "codes": [code]}])
    assert answer(mild, Fact(code, shared=True)) == answer(policy(), Fact(code))


DEMOTE = [
    {"process": "trusted*", "response": "evict"},
    {"process": "jupyter*", "codes": [31], "response": "monitor"},
    {"process": "py?hon[23]", "response": "lower_score"},
]


@pytest.mark.parametrize(
    ("code", "process", "level"),
    [
        (31, "jupyter-lab", Level.FINE),
        (43, "jupyter-lab", Level.EVICT),  # another code
        (31, "my-jupyter", Level.EVICT),
        (31, "python3", Level.WARNING),
        (43, "python2", Level.WARNING),
        (31, "Python3", Level.EVICT),  # names are told by case
        (13, "trusted-one", Level.EVICT),  # the first rule that fits
        (31, "", Level.EVICT),  # nobody is named
    ],
)
def test_processes_are_demoted_by_their_names(code: int, process: str, level: Level) -> None:
    assert answer(policy(demote=DEMOTE), Fact(code, process=process)).level is level


def test_the_more_special_word_comes_first() -> None:
    told = policy(responses={"31": "evict_permanently"}, application_response="lower_score", demote=DEMOTE)
    assert answer(told, Fact(31)).action is Action.EVICT_PERMANENTLY
    assert answer(told, Fact(43)).level is Level.WARNING
    assert answer(told, Fact(31, process="python3")).level is Level.WARNING
    assert answer(told, Fact(31, process="trusted", shared=True)).level is Level.FINE


def test_what_a_job_did_to_several_gpus_counts_for_nothing_unless_that_is_turned_off() -> None:
    assert answer(policy(), Fact(31, shared=True)).level is Level.FINE
    assert answer(policy(shared_gpus=0), Fact(31, shared=True)).level is Level.EVICT


@pytest.mark.parametrize(
    ("hours", "days", "permanent"), [(None, 30.0, False), (719, 30.0, True), (720, 30.0, False), (0, 0.0, False)]
)
def test_a_double_bit_error_again_within_days_is_for_good(hours: int | None, days: float, permanent: bool) -> None:
    expected = Action.EVICT_PERMANENTLY if permanent else Action.EVICT
    assert answer(policy(repeat_days=days), Fact(48, hours=hours)).action is expected
