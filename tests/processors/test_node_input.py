"""What the node stage does with input that cannot be understood."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import Observations, gpu, judge
from schemas import records
from schemas.fields import GPU_TEMP
from schemas.records import Gpu
from tests.processors.node_logs import BAD, BARE, SLOT, good


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_understood_is_a_dead_letter_and_harms_nobody(what: str) -> None:
    kind, value = BAD[what]
    said = judge(good([(22, kind, value)]))
    (letter,) = said.dead_letters
    raw = b"NVRM: ?" if what == "a fault of an unknown sort" else value
    assert (letter.kind, letter.data) == (kind, b"" if what == "an Xid without a code" else raw)
    assert letter.why
    assert said.counts["dead_letters"] == 1
    assert said.conditions == GOOD
    check_cuts(NodeTask, good([(22, kind, value)])[38:52], rounds=0)


GOOD = judge(good()).conditions


MESS = st.lists(
    st.tuples(
        st.integers(1, 35),
        st.sampled_from(["telemetry", "kernel", "inventory", "source", "operator", "policy", "tick", "?"]),
        st.one_of(st.binary(max_size=40), st.sampled_from([value for _, value in BAD.values() if len(value) < 1000])),
    ),
    max_size=10,
)


@settings(max_examples=25)
@given(MESS)
def test_the_valid_neighbours_of_bad_records_are_judged_the_same(mess: list[tuple[int, str, bytes]]) -> None:
    said = judge(good(mess))
    assert said.conditions == GOOD


@settings(max_examples=40)
@given(st.integers(0, 34), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_frame_is_a_dead_letter_or_a_frame_and_never_more(second: int, at: int, byte: int) -> None:
    """One byte of one frame differs: no crash, and the other node sees nothing of it."""
    log = good()
    hit = [record for record in log if record.kind == "telemetry" and record.key == "n1"][second]
    value = bytearray(hit.value)
    value[at % len(value)] = byte
    said = judge([record._replace(value=bytes(value)) if record is hit else record for record in log])
    other = [change for change in said.conditions if change.uuid == gpu("n2").uuid]
    assert other == [change for change in GOOD if change.uuid == gpu("n2").uuid]


def test_one_gpu_listed_by_uuid_and_by_slot_is_a_dead_letter() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).frame("n1", 2.0, {GPU_TEMP: [50, 60]}, gpus=[SLOT, BARE])
    (letter,) = judge(log).dead_letters
    assert "listed twice" in letter.why


def test_a_switch_fault_and_a_fault_without_a_gpu_are_events_of_the_node() -> None:
    log = Observations().fault("n1", 1.0, 20034, fault="sxid", severity="fatal").fault("n1", 2.0, 48, of=Gpu())
    said = judge(log.tick(10.0))
    assert [(xid.fault, xid.code, xid.severity) for xid in said.xids] == [
        ("sxid", 20034, "fatal"),
        ("xid", 48, "critical"),
    ]
    assert said.scores == []


def test_a_policy_with_absurd_numbers_is_a_dead_letter() -> None:
    document = {"signals": {"clocks": {"smoothing_s": -1.0}}}
    with pytest.raises(msgspec.ValidationError):
        from_document("x", document)
    change = records.encode(records.PolicyChange(ts=0, id="x", document=document))
    assert len(judge(Observations().add(0.0, "", "policy", change)).dead_letters) == 1
