"""Which GPU is which, when UUIDs come to light, and GPUs move, change places or are replaced."""

from __future__ import annotations

import pytest

from pipeline.kits import check_cuts
from processors.node import NodeTask
from processors.testing import Observations, decide, gpu, judge
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE, GPU_TEMP
from schemas.records import Gpu
from schemas.states import Condition
from tests.processors.node_logs import BARE, KEY, SLOT, newest

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
    known = [score for score in said.scores if score.uuid]  # the slot alone has no telemetry, and says so
    assert "presence" not in {why.signal for score in known for why in score.reasons}
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
