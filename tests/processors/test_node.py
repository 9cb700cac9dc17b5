"""The node stage: presence, and that batch cuts and restarts show nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from pipeline.policies import load
from processors.node import NodeTask
from processors.testing import Observations, Said, gpu, judge, ms
from schemas import frames, topics
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
from schemas.records import Gpu
from schemas.states import Action, Condition
from tests.processors.node_logs import BAD, HOUR, KEY, good, moments, newest

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
