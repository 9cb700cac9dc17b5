"""The node stage: presence, clocks, identity, bad input, and that batch cuts and restarts show nowhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from pipeline.policies import load
from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import START_MS, Observations, Said, decide, gpu, judge, ms
from schemas import frames, records, topics
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    ECC_DBE_VOLATILE,
    ECC_SBE_VOLATILE,
    GPU_TEMP,
    POWER,
    RETIRED_SBE,
    SM_CLOCK,
)
from schemas.log import Record
from schemas.records import Gpu, Score
from schemas.states import Action, Condition

KEY = gpu("n1").uuid
HOUR = 3600.0


def moments(said: Said, key: str) -> list[tuple[float, str]]:
    """When the condition of a GPU changed, in seconds, and to what."""
    changes: list[tuple[float, str]] = []
    for score in said.scores:
        if (score.uuid or f"{score.node}/{score.bdf}") == key:
            new = ((score.ts - START_MS) / 1000, score.condition.value)
            if not changes or changes[-1][1] != new[1]:
                changes.append(new)
    return changes


def newest(said: Said, key: str = KEY) -> Score:
    return said.latest[key]


# --- presence ----------------------------------------------------------------------------------------------------


def test_one_silent_node_among_a_hundred() -> None:
    """Unknown after 10 s, failed after 60 s, on a grid of 5 s; a failed GPU that returns waits 300 s."""
    log = Observations()
    for second in range(1, 120, 2):
        for number in range(100):
            if number != 42 or second <= 21:
                log.frame(f"n{number}", second, {GPU_TEMP: 50})
    said = judge(log)
    assert moments(said, gpu("n42").uuid) == [(5, "healthy"), (35, "unknown"), (85, "failed")]
    others = {score.condition for score in said.scores if score.node != "n42"}
    assert others == {Condition.HEALTHY}
    (change,) = [change for change in said.conditions if change.condition is Condition.FAILED]
    assert (change.action, change.hard, change.reasons[0].signal) == (Action.EVICT, True, "presence")


def test_silence_is_noticed_when_all_else_is_silent_too() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).ticks(2.0, 80.0)
    assert moments(judge(log), KEY) == [(5, "healthy"), (15, "unknown"), (65, "failed")]


def test_an_hour_without_a_log_ages_nobody() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0).tick(HOUR)
    log.frame("n1", HOUR + 1, {GPU_TEMP: 50}).tick(HOUR + 6)
    assert moments(judge(log), KEY) == [(5, "healthy")]


def test_gaps_count_for_two_seconds_at_most() -> None:
    """Ticks every 30 s: ten seconds are credited after the fifth, sixty after the thirtieth."""
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).ticks(31.0, 31.0 + 32 * 30, 30.0)
    assert moments(judge(log), KEY) == [(30, "healthy"), (150, "unknown"), (900, "failed")]


def test_a_gpu_that_vanishes_from_the_frames_of_its_node_is_lost() -> None:
    log = Observations()
    for second in range(1, 90):
        both = second <= 10
        log.frame("n1", second, {GPU_TEMP: [50, 50] if both else [50]}, gpus=[gpu("n1", 1), gpu("n1")][: 1 + both])
    said = judge(log)
    assert moments(said, KEY) == [(5, "healthy"), (20, "unknown"), (70, "failed")]
    assert moments(said, gpu("n1", 1).uuid) == [(5, "healthy")]


@pytest.mark.parametrize("blank_from", [1, 20])
def test_blanks_with_fresh_timestamps_are_unknown_and_never_healthy(blank_from: int) -> None:
    log = Observations()
    for second in range(1, 60):
        value = 50 if second < blank_from else None
        log.frame("n1", second, {GPU_TEMP: value, SM_CLOCK: value, ECC_SBE_VOLATILE: 0 if value else None})
    changes = moments(judge(log), KEY)
    assert changes == ([(5, "unknown")] if blank_from == 1 else [(5, "healthy"), (30, "unknown")])
    assert newest(judge(log)).reasons[0].signal == "blanks"


def test_a_blank_field_among_others_hides_nobody() -> None:
    log = Observations()
    for second in range(1, 60):
        log.frame("n1", second, {GPU_TEMP: None, SM_CLOCK: 1980})
    assert moments(judge(log), KEY) == [(5, "healthy")]


def test_a_fault_is_told_at_once_even_of_a_gpu_not_seen_before() -> None:
    (score,) = judge(Observations().fault("n1", 1.0, 48)).scores
    assert (score.score, score.condition, score.reasons[0].signal) == (0.0, Condition.FAILED, "xid")


# --- clocks of nodes ---------------------------------------------------------------------------------------------


def errors(ahead_s: Sequence[float], *, epoch_at: int | None = None) -> Observations:
    """A frame a minute with one more correctable error in each; the node's clock is off by `ahead_s[minute]`."""
    log = Observations()
    for minute, ahead in enumerate(ahead_s):
        at_s = 1.0 + 60.0 * minute
        epoch = 1 if epoch_at is None or minute < epoch_at else 2
        log.frame("n1", at_s, {ECC_SBE_VOLATILE: minute}, ticks_s=[at_s + ahead], append_s=at_s, epoch=epoch)
    return log


@pytest.mark.parametrize("ahead_s", [0.0, HOUR, -HOUR, 1e9, -1.7e9])
def test_windows_count_an_hour_whatever_the_clock_of_the_node_says(ahead_s: float) -> None:
    assert newest(judge(errors([ahead_s] * 12).tick(665.0))).score == 0.7  # 11 errors
    log = errors([ahead_s] * 12)
    for minute in range(12, 75):
        at_s = 1.0 + 60.0 * minute
        log.frame("n1", at_s, {ECC_SBE_VOLATILE: 11}, ticks_s=[at_s + ahead_s], append_s=at_s)
    assert newest(judge(log.tick(75 * 60.0))).score == 1.0


@pytest.mark.parametrize(("step_s", "corrections"), [(HOUR, 1), (-HOUR, 1), (10.0, 1), (5.0, 0), (-10.0, 0)])
def test_a_clock_that_steps_loses_nothing_and_counts_nothing_twice(step_s: float, corrections: int) -> None:
    said = judge(errors([0.0] * 6 + [step_s] * 6).tick(700.0).tick(900.0))
    assert (newest(said).score, newest(said).reasons[0].value) == (0.7, 11.0)
    assert said.counts["clock_corrections"] == corrections


def test_a_new_agent_is_believed_again() -> None:
    log = errors([HOUR] * 6 + [0.0] * 6, epoch_at=6).tick(665.0)
    said = judge(log)
    assert newest(said).score == 0.7
    assert said.counts["clock_corrections"] == 1


def test_xids_are_counted_in_the_time_of_their_node() -> None:
    for ahead in (0.0, HOUR, -HOUR):
        log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}, ticks_s=[1.0 + ahead], append_s=1.0)
        for number in range(11):
            at_s = 10.0 + 300 * number
            log.frame("n1", at_s, {GPU_TEMP: 50}, ticks_s=[at_s + ahead], append_s=at_s)
            log.fault("n1", at_s + ahead, 94, append_s=at_s)
        assert newest(judge(log)).score == 0.0, ahead


def test_lines_coalesce_in_the_time_of_their_node() -> None:
    for ahead in (0.0, HOUR, -HOUR):
        log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}, ticks_s=[1.0 + ahead], append_s=1.0)
        for at_s in (3.0, 4.0, 6.0, 9.0):  # a timer fires at 5
            log.fault("n1", at_s + ahead, 94, append_s=at_s)
        told = [(xid.repeat, xid.repeats) for xid in judge(log.tick(70.0)).xids]
        assert told == [(False, 0), (True, 2)], ahead


# --- identity ----------------------------------------------------------------------------------------------------

BARE, SLOT = Gpu(uuid=KEY), Gpu(bdf=gpu("n1").bdf)
OTHER = Gpu(uuid="GPU-other", bdf=gpu("n1").bdf)


def healthy(log: Observations, who: Gpu, start_s: int, count: int = 8) -> Observations:
    for second in range(start_s, start_s + count):
        log.frame("n1", second, {GPU_TEMP: 50, ECC_SBE_VOLATILE: 7}, gpus=[who])
    return log


def test_another_gpu_in_the_slot_starts_afresh_and_the_one_before_is_gone() -> None:
    log = healthy(Observations(), gpu("n1"), 1).fault("n1", 9.0, 48)
    said = judge(healthy(log, OTHER, 10))
    assert [(gone.uuid, gone.bdf) for gone in said.gone] == [(KEY, OTHER.bdf)]
    assert list(said.latest) == ["GPU-other"]
    assert newest(said, "GPU-other").condition is Condition.HEALTHY
    assert [output.key for output in said.outputs if output.kind == "tombstone"] == [KEY]


def test_what_the_gpu_before_printed_does_not_swallow_the_faults_of_the_new_one() -> None:
    log = healthy(Observations(), gpu("n1"), 1).fault("n1", 9.0, 48)
    said = judge(healthy(log, OTHER, 10, 1).fault("n1", 11.0, 48, of=OTHER))
    assert [(xid.uuid, xid.repeat) for xid in said.xids] == [(KEY, False), ("GPU-other", False)]


def test_an_early_xid_finds_its_gpu_when_the_uuid_comes_to_light() -> None:
    log = Observations().fault("n1", 1.0, 48, of=SLOT).tick(6.0)
    assert list(judge(log).latest) == [f"n1/{SLOT.bdf}"]
    said = judge(healthy(log, gpu("n1"), 7))
    assert list(said.latest) == [KEY]
    assert (newest(said).condition, newest(said).reasons[0].value) == (Condition.FAILED, 48)
    assert {decision.weight for decision in decide(said).decisions} == {0.0}


@pytest.mark.parametrize("named_by", ["inventory", "fault", "frame"])
def test_two_half_known_gpus_turn_out_to_be_one(named_by: str) -> None:
    """Telemetry knows the UUID alone, the kernel the BDF alone; then somebody knows both."""
    log = healthy(Observations(), BARE, 1).fault("n1", 9.0, 64, of=SLOT)
    assert set(judge(log).latest) == {KEY, f"n1/{SLOT.bdf}"}
    if named_by == "inventory":
        log.inventory("n1", 10.0)
    elif named_by == "fault":
        log.fault("n1", 10.0, 13)
    healthy(log, gpu("n1") if named_by == "frame" else BARE, 11, 80)
    said = judge(log)
    assert list(said.latest) == [KEY]
    assert (newest(said).bdf, newest(said).reasons[0].value) == (SLOT.bdf, 64)
    assert "presence" not in {why.signal for score in said.scores for why in score.reasons}
    check_cuts(NodeTask, log.records, rounds=0)


def test_a_gpu_that_moves_to_another_slot_takes_its_faults_along() -> None:
    moved = Gpu(uuid=KEY, bdf="0000:77:00")
    log = healthy(Observations(), gpu("n1"), 1).fault("n1", 9.0, 64)
    said = judge(healthy(log, moved, 10, 80))
    assert list(said.latest) == [KEY]
    assert (newest(said).bdf, newest(said).condition) == (moved.bdf, Condition.FAILED)
    assert said.gone == []


def test_two_gpus_that_change_places_keep_what_is_known_of_them() -> None:
    one, two = gpu("n1", 0), gpu("n1", 1)
    swapped = [Gpu(uuid=one.uuid, bdf=two.bdf), Gpu(uuid=two.uuid, bdf=one.bdf)]
    log = Observations().frame("n1", 1.0, {GPU_TEMP: [50, 50]}, gpus=[one, two]).tick(6.0).fault("n1", 7.0, 64, of=one)
    said = judge(log.frame("n1", 8.0, {GPU_TEMP: [50, 50]}, gpus=swapped).tick(15.0))
    assert {key: score.condition.value for key, score in said.latest.items()} == {
        one.uuid: "failed",
        two.uuid: "healthy",
    }
    assert said.gone == []
    weights = {decision.uuid: (decision.bdf, decision.weight) for decision in decide(said).decisions}
    assert weights[one.uuid][1] == 0.0
    assert weights[two.uuid][1] == 1.0


def test_a_gpu_pushed_out_by_another_that_moved_is_gone() -> None:
    one, two = gpu("n1", 0), gpu("n1", 1)
    log = Observations().frame("n1", 1.0, {GPU_TEMP: [50, 50]}, gpus=[one, two]).tick(6.0)
    for second in range(7, 90):
        log.frame("n1", second, {GPU_TEMP: [50]}, gpus=[Gpu(uuid=two.uuid, bdf=one.bdf)])
    said = judge(log)
    assert [gone.uuid for gone in said.gone] == [one.uuid]
    assert {key: score.condition.value for key, score in said.latest.items()} == {two.uuid: "healthy"}


def test_an_operator_speaks_of_the_gpu_named_not_of_the_slot() -> None:
    log = healthy(Observations(), gpu("n1"), 1)
    healthy(log, OTHER, 10).fault("n1", 19.0, 48, of=OTHER)
    assert newest(judge(log.restore("n1", 20.0, of=gpu("n1"))), OTHER.uuid).score == 0.0
    assert newest(judge(log.restore("n1", 21.0, of=SLOT)), OTHER.uuid).score == 1.0


def test_more_gpus_than_rows_in_the_middle_of_a_batch() -> None:
    log = Observations()
    for second in range(1, 8):
        for number in range(40):
            gpus = 1 if second < 4 else 8
            log.frame(f"n{number}", second, {GPU_TEMP: [50] * (gpus - 1) + [95], ECC_DBE_VOLATILE: [0] * gpus})
    said = judge(log.tick(15.0))
    expected = {gpu(f"n{number}", at).uuid: 0.0 if at in (0, 7) else 1.0 for number in range(40) for at in range(8)}
    assert {key: score.held for key, score in said.latest.items()} == expected
    check_cuts(NodeTask, log.records[100:140], rounds=0)


def test_a_node_may_change_its_cluster() -> None:
    log = healthy(Observations(), gpu("n1"), 1)
    for second in range(10, 20):
        log.frame("n1", second, {GPU_TEMP: 50 if second < 15 else 95}, cluster="west")
    assert [score.cluster for score in judge(log).scores] == ["default", "west"]
    check_cuts(NodeTask, log.records, rounds=0)


# --- doubles, order, epochs --------------------------------------------------------------------------------------


def counts(log: Observations) -> dict[str, int]:
    return {name: count for name, count in judge(log.tick(100.0)).counts.items() if count}


def numbered(*numbers: tuple[int, int]) -> Observations:
    """Frames with these (epoch, seq), each with one more error."""
    log = Observations()
    for at, (epoch, seq) in enumerate(numbers):
        log.frame("n1", 1.0 + at, {ECC_SBE_VOLATILE: at}, epoch=epoch, seq=seq)
    return log


def test_doubles_reordered_and_late_records_are_dropped_and_counted() -> None:
    assert counts(numbered((1, 1), (1, 2), (1, 2))) == {"duplicates": 1}
    assert counts(numbered((1, 1), (1, 3), (1, 2))) == {"missing": 1, "duplicates": 1}
    assert counts(numbered((2, 1), (1, 7), (2, 2))) == {"late": 1}
    assert counts(numbered((1, 9), (2, 0), (2, 1))) == {}


def test_a_dropped_frame_leaves_no_trace() -> None:
    kept, dropped = numbered((1, 1), (1, 2), (1, 3)), numbered((1, 1), (1, 2))
    dropped.frame("n1", 2.5, {ECC_SBE_VOLATILE: 10_000, GPU_TEMP: 99}, epoch=1, seq=2)
    dropped.frame("n1", 3.0, {ECC_SBE_VOLATILE: 2}, epoch=1, seq=3)
    assert judge(dropped.tick(10.0)).scores == judge(kept.tick(10.0)).scores


def test_faults_and_telemetry_are_numbered_apart() -> None:
    log = (
        Observations().frame("n1", 1.0, {GPU_TEMP: 50}, seq=100).fault("n1", 2.0, 94, seq=5).fault("n1", 3.0, 94, seq=5)
    )
    log.frame("n1", 4.0, {GPU_TEMP: 50}, seq=101)
    assert counts(log) == {"duplicates": 1}


# --- bad input ---------------------------------------------------------------------------------------------------

BIG = 2**70
BAD: dict[str, tuple[str, bytes]] = {
    "no kind": ("", b"{}"),
    "unknown kind": ("weather", b"{}"),
    "no telemetry": ("telemetry", b"\xff\xfe"),
    "JSON for msgpack": ("telemetry", b'{"node":"n1"}'),
    "deep telemetry": ("telemetry", b"\x82\xa4node\xa2n1\xa1x" + b"\x91" * 50_000),
    "no JSON": ("kernel", b"Xid"),
    "half a record": ("kernel", b'{"kind":"kernel","ts":17672'),
    "no UTF-8": ("kernel", b'{"kind":"kernel","ts":1,"node":"n1","fault":"\xff"}'),
    "wrong type": ("kernel", b'{"kind":"kernel","ts":"yesterday","node":"n1","fault":"xid"}'),
    "deep JSON": ("inventory", b'{"kind":"inventory","ts":1,"node":"n1","x":' + b"[" * 50_000),
    "another kind inside": ("kernel", b'{"kind":"tick","ts":1}'),
    "a fault of an unknown sort": (
        "kernel",
        b'{"kind":"kernel","ts":1,"node":"n1","fault":"unparsed","raw":"NVRM: ?"}',
    ),
    "an Xid without a code": ("kernel", b'{"kind":"kernel","ts":1,"node":"n1","fault":"xid","uuid":"GPU-n1-0"}'),
    "a code that is none": (
        "kernel",
        b'{"kind":"kernel","ts":1,"node":"n1","fault":"xid","uuid":"GPU-n1-0","code":-4}',
    ),
    "a policy that is none": ("policy", b'{"kind":"policy","ts":1,"id":"x","document":{"nodes":{}}}'),
    "a policy of wrong types": (
        "policy",
        b'{"kind":"policy","ts":1,"id":"x","document":{"node":{"coalesce_s":"5 s"}}}',
    ),
    "a policy out of range": ("policy", b'{"kind":"policy","ts":1,"id":"x","document":{"node":{"rates_every_s":0}}}'),
    "a GPU without a name": ("inventory", b'{"kind":"inventory","ts":1,"node":"n1","gpus":[{"uuid":""}]}'),
    "a GPU twice": ("inventory", b'{"kind":"inventory","ts":1,"node":"n1","gpus":[{"uuid":"a"},{"uuid":"a"}]}'),
    **{
        f"{field} beyond all numbers": (
            "kernel",
            json.dumps(
                {"kind": "kernel", "ts": 1, "node": "n1", "fault": "xid", "uuid": "GPU-n1-0", "code": 94, field: number}
            ).encode(),
        )
        for field in ("ts", "epoch", "seq", "code", "pid", "gi", "recovery_action")
        for number in (BIG, -BIG)
    },
}


def good(bad: Sequence[tuple[int, str, bytes]] = ()) -> list[Record]:
    """Two nodes, one of which gets worse and better, with other records between."""
    log = Observations()
    for second in range(1, 36):
        for at, kind, value in bad:
            if at == second:
                log.add(second - 0.5, "n1", kind, value)
        log.frame("n1", second, {GPU_TEMP: [50, 86 if second == 20 else 50], ECC_SBE_VOLATILE: [second, 0]})
        log.frame("n2", second, {GPU_TEMP: 50})
        if second == 25:
            log.fault("n2", second, 31)
    return log.tick(50.0).records


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


# --- determinism -------------------------------------------------------------------------------------------------

IDENTITIES = [
    [Gpu(uuid="A", bdf="1"), Gpu(uuid="B", bdf="2")],
    [Gpu(uuid="B", bdf="1"), Gpu(uuid="A", bdf="2")],
    [Gpu(uuid="A"), Gpu(uuid="B")],
    [Gpu(bdf="1"), Gpu(bdf="2")],
    [Gpu(uuid="A"), Gpu(bdf="1")],
    [Gpu(uuid="C", bdf="1"), Gpu(uuid="A")],
    [Gpu(uuid="D", bdf="2")],
]
ONE = [*(each for pair in IDENTITIES for each in pair)]
NODES = ["n1", "n2", "n3"]
STEP = st.tuples(
    st.sampled_from(["frame"] * 6 + ["fault"] * 3 + ["inventory", "restore", "tick", "policy", "bad", "bad frame"]),
    st.sampled_from(NODES),
    st.sampled_from([0, 0, 1, 400, 1000, 3000, 20_000, 400_000, -500]),
    st.integers(0, 10_000),
)


def history(steps: Sequence[tuple[str, str, int, int]]) -> list[Record]:
    """A log from arbitrary choices: whatever they are, it may have happened."""
    log, at_s = Observations(), 1.0
    for what, node, later_ms, choice in steps:
        at_s = max(at_s + later_ms / 1000, 0.0)
        ahead_s = (0.0, 0.0, 0.0, HOUR, -HOUR, -3.0)[choice % 6]
        gpus = IDENTITIES[choice % len(IDENTITIES)]
        epoch = 1 + (choice % 17 == 0)
        if what == "frame":
            ticks = 1 + choice % 3
            several = [at_s + ahead_s - (ticks - 1 - tick) / 2 for tick in range(ticks)]
            size = ticks * len(gpus)
            columns: dict[int, Any] = {
                GPU_TEMP: [(50, 81, 95, None)[(choice + cell) % 4] for cell in range(size)],
                ECC_SBE_VOLATILE: [(choice * cell) % 300 for cell in range(size)],
                CLOCK_EVENT_REASONS: [0x20] * size,
                POWER: [600.0] * size,
                ECC_DBE_VOLATILE: [int(choice % 7 == 0)] * len(gpus),
                RETIRED_SBE: [choice % 13] * len(gpus),
            }
            for field in [GPU_TEMP, ECC_SBE_VOLATILE, CLOCK_EVENT_REASONS][: choice % 4]:
                del columns[field]
            cluster = "west" if choice % 11 == 0 else "default"
            log.frame(node, at_s, columns, gpus=gpus, ticks_s=several, append_s=at_s, epoch=epoch, cluster=cluster)
        elif what == "fault":
            code = (31, 45, 48, 63, 94, 154, 999)[choice % 7]
            action = choice % 4 if code == 154 else None
            of, source = ONE[choice % len(ONE)], ("kmsg", "dcgm")[choice % 2]
            log.fault(node, at_s + ahead_s, code, of, append_s=at_s, epoch=epoch, source=source, recovery_action=action)
        elif what == "inventory":
            log.inventory(node, at_s, gpus, epoch=epoch, boot=str(choice % 3))
        elif what == "restore":
            log.restore(node, at_s, ONE[choice % len(ONE)])
        elif what == "tick":
            log.tick(at_s)
        elif what == "policy":
            log.policy(at_s, load(("default", "spec", "spec-quirks")[choice % 3]))
        elif what == "bad":
            log.add(at_s, node, *list(BAD.values())[choice % len(BAD)])
        else:
            frame = frames.build(node=node, seq=10**6, epoch=epoch, gpus=gpus, ticks=[ms(at_s)] * 2, columns={})
            log.add(at_s, node, "telemetry", frames.encode(frame))
    return log.records


@settings(max_examples=40)
@given(st.lists(STEP, max_size=30), st.integers(0, 1000))
def test_batch_cuts_and_restarts_show_nowhere(steps: list[tuple[str, str, int, int]], seed: int) -> None:
    """Outputs and checkpoints are functions of the log alone."""
    check_cuts(NodeTask, history(steps), rounds=1, seed=seed)


@settings(max_examples=100)
@given(st.lists(STEP, max_size=40))
def test_every_row_stands_for_one_gpu(steps: list[tuple[str, str, int, int]]) -> None:
    task = NodeTask()
    said = Said(task.step(history(steps)))
    roster = task.roster
    named = [(node, uuid) for node, uuid in zip(roster.node_of, roster.uuid_of, strict=True) if uuid]
    placed = [(node, bdf) for node, bdf in zip(roster.node_of, roster.bdf_of, strict=True) if bdf]
    assert len(set(named)) == len(named)
    assert len(set(placed)) == len(placed)
    for node in roster.nodes.values():
        assert len(set(node.seat.rows.tolist())) == len(node.seat.rows)
    assert all(score.uuid or score.bdf for score in said.scores)


def test_state_is_small() -> None:
    """Two kilobytes per GPU, from what is declared."""
    assert NodeTask().judges.bytes_per_gpu <= 2048


def test_a_checkpoint_of_another_version_is_refused() -> None:
    task = NodeTask()
    saved = task.checkpoint()
    with pytest.raises(ValueError, match="damaged"):
        NodeTask().restore(msgspec.structs.replace(saved, data=saved.data[:-4]))


def test_outputs_are_ordered_and_name_their_cause() -> None:
    log = good([(22, "weather", b"{}")])
    outputs = judge(log).outputs
    places = [(output.offset, output.ordinal) for output in outputs]
    assert places == sorted(set(places))
    appended = {record.offset: record.ts for record in log}
    assert all(output.ts == appended[output.offset] for output in outputs)
    assert {output.topic for output in outputs} == {
        topics.SCORES,
        topics.FLEET_EVENTS,
        topics.RATES,
        topics.XIDS,
        topics.INCIDENTS,
        topics.DEAD_LETTER,
    }
