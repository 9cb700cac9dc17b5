"""Forecasts of the node stage: from frames to the topic, the same however the records are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policies import load
from processors import split
from processors.node import NodeTask
from processors.policy import Policy, from_document
from processors.testing import Observations, Said, judge, ms
from schemas import topics
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE, GPU_TEMP
from schemas.log import Record
from schemas.records import Gpu, Prediction
from schemas.states import PredictionAction

MONITOR, ORDER, SCHEDULE, EVICT = PredictionAction
HOUR = 3600.0
GROWING = [round(2 ** (hour / 6)) for hour in range(70)]  # 1000 an hour after 60 hours


def story(
    per_hour: Iterable[int],
    *,
    policy: Policy | None = None,
    level: Callable[[int], float | None] = float,
    frame_s: float = 900.0,
    gpu: Gpu | None = None,
) -> Observations:
    """One GPU, frames every quarter of an hour; the counter grows by so much in each hour. level: as it is told."""
    log = Observations()
    if policy is not None:
        log.policy(0.0, policy)
    frames = int(HOUR / frame_s)
    steps = [count * (part + 1) // frames - count * part // frames for count in per_hour for part in range(frames)]
    for number, total in enumerate(accumulate(steps)):
        at = frame_s * (number + 1) - 300.0
        gpus = None if gpu is None else [gpu]
        log.frame("n1", at, {GPU_TEMP: [50], ECC_SBE_VOLATILE: [level(total)]}, gpus=gpus).tick(at + 10)
    return log


def actions(said: Said) -> list[PredictionAction]:
    """In their order, each once."""
    told = [each.action for each in said.predictions]
    return [action for at, action in enumerate(told) if not at or told[at - 1] is not action]


def test_a_rate_that_grows_becomes_more_urgent_hour_by_hour() -> None:
    said = judge(story(GROWING[:58]))
    assert actions(said) == [ORDER, SCHEDULE, EVICT]
    newest = said.predictions[-1]
    assert (newest.uuid, newest.bdf, newest.node, newest.cluster) == ("GPU-n1-0", "0000:01:00", "n1", "default")
    assert (newest.model, newest.horizon_h) == ("default", 168.0)
    assert newest.hours is not None
    assert newest.hours < 4
    assert newest.confidence > 0.9
    assert newest.text.startswith("evict now: failure foreseen in 3.")


@pytest.mark.parametrize(("per_hour", "action"), [(7, ORDER), (45, SCHEDULE), (300, EVICT)])
def test_a_constant_rate_is_urgent_to_the_specification_alone(per_hour: int, action: PredictionAction) -> None:
    assert judge(story([per_hour] * 60)).predictions == []
    said = judge(story([per_hour] * 168, policy=load("spec")))
    assert actions(said)[-1] is action
    assert {each.model for each in said.predictions} == {"spec"}


def test_gpus_without_errors_are_not_spoken_of_and_hold_no_history() -> None:
    task = NodeTask()
    assert judge(story([0] * 40), task).predictions == []
    assert len(task.judges.predictions.histories) == 0


def test_no_failure_foreseen_is_no_number() -> None:
    said = judge(story([*GROWING[:45], *[0] * 60]))
    assert actions(said)[-1] is MONITOR
    assert said.predictions[-1].hours is None
    assert not [output for output in said.outputs if b"Infinity" in output.value]


def test_a_restart_of_the_counter_is_no_news_to_a_trend_and_the_end_to_the_specification() -> None:
    half = sum(GROWING[:35])
    restarted = story(GROWING[:50], level=lambda total: total if total <= half else total - half)
    assert [each.action for each in judge(restarted).predictions] == [
        each.action for each in judge(story(GROWING[:50])).predictions
    ]
    spec, slower = load("spec"), [300] * 60 + [3] * 60
    assert judge(story(slower, policy=spec)).predictions[-1].hours is not None
    again = story(slower, policy=spec, level=lambda total: total if total <= 18_000 else total - 18_000)
    newest = judge(again).predictions[-1]
    assert (newest.action, newest.hours, newest.confidence) == (MONITOR, None, 0.0)


def test_a_blank_counts_as_nothing() -> None:
    """The counter is blank every fifth time, and goes on from where it was."""
    numbers = iter(range(10_000))
    blank = story(GROWING[:50], level=lambda total: None if next(numbers) % 5 == 4 else float(total))
    assert actions(judge(blank))[-1] is actions(judge(story(GROWING[:50])))[-1]


def test_within_the_hour_it_speaks_only_to_raise_the_alarm() -> None:
    """Minute by minute: what is said between the hours is more urgent than what was said before."""
    said = judge(story(GROWING[:58], frame_s=60.0)).predictions
    severity = list(PredictionAction)
    between = [at for at, each in enumerate(said) if (each.ts - ms(0.0)) % 3_600_000 > 120_000]
    assert between
    for at in between:
        assert severity.index(said[at].action) > (severity.index(said[at - 1].action) if at else 0)


def test_what_came_over_a_silence_is_spread_over_it() -> None:
    """Seven an hour, half a day of it unseen: no burst, no trend."""
    log = story([7] * 40)
    seen = [record for record in log.records if not 20 * HOUR < (record.ts - ms(0.0)) / 1000 < 32 * HOUR]
    renumbered = [Record(at, each.ts, each.key, each.kind, each.value) for at, each in enumerate(seen)]
    task = NodeTask()
    assert judge(renumbered, task).predictions == []
    counts = task.judges.predictions.histories[0].counts
    assert all(6 <= count <= 8 for count in counts[1:])
    assert len(counts) >= 38


def test_uncorrectable_errors_are_counted_apart() -> None:
    log = Observations()
    for half in range(8):
        values: dict[int, Any] = {GPU_TEMP: [50], ECC_SBE_VOLATILE: [3 * half], ECC_DBE_VOLATILE: [half // 2]}
        log.frame("n1", (half + 0.75) * HOUR / 2, values).tick((half + 0.75) * HOUR / 2 + 10)
    task = NodeTask()
    judge(log, task)
    history = task.judges.predictions.histories[0]
    assert (history.counts, history.uncorrectable, history.levels) == ([3, 6, 6], [0, 1, 1], [3.0, 9.0, 15.0])


FAST = {"points_every_s": 300.0, "default": {"hours_min": 4.0, "failing_errors_per_hour": 1e5}}


def fleet() -> list[Record]:
    """Three nodes, six hours in buckets of five minutes: one GPU gets worse, one is steady, one restarts; the policy
    changes twice.
    """
    log = Observations().policy(0.0, from_document("fast", {"prediction": FAST}))
    for second in range(30, 6 * 3600, 200):
        growing = round(2 ** (second / 1800))
        for number, node in enumerate(("n1", "n2", "n3")):
            counts = (growing, second // 10, (second % 9000) // 3)
            ticks = [second + number + tick / 2 for tick in range(3)]
            values = [float(counts[number] + tick) if gpu else 0.0 for tick in range(3) for gpu in range(2)]
            log.frame(node, ticks[-1], {GPU_TEMP: [50] * 6, ECC_SBE_VOLATILE: values}, ticks_s=ticks)
        log.tick(second + 20)
        if second == 14_430:
            log.policy(second + 21.0, from_document("spec", {"prediction": FAST | {"model": "spec"}}))
        if second == 15_430:
            log.policy(second + 21.0, from_document("fast", {"prediction": FAST}))
    return log.records


FLEET = fleet()


def told(records: Sequence[Record], task: NodeTask) -> list[Any]:
    return [each for each in judge(records, task).outputs if each.topic == topics.PREDICTIONS]


WHOLE = told(FLEET, NodeTask())


def test_the_fleet_is_worth_cutting() -> None:
    said = Said(WHOLE).predictions
    assert {each.model for each in said} == {"default", "spec"}
    assert {(each.node, each.action) for each in said} >= {("n1", EVICT), ("n2", EVICT), ("n3", MONITOR)}


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(1, len(FLEET) - 1), max_size=20), st.booleans())
def test_no_cut_and_no_checkpoint_shows(cuts: set[int], restored: bool) -> None:
    task, said = NodeTask(), []
    edges = [0, *sorted(cuts), len(FLEET)]
    for start, end in pairwise(edges):
        said += told(FLEET[start:end], task)
        if restored:
            checkpoint, task = task.checkpoint(), NodeTask()
            task.restore(checkpoint)
            assert task.checkpoint() == checkpoint
    assert said == WHOLE


def test_a_partition_that_is_split_goes_on_as_if_it_always_had_been() -> None:
    half = len(FLEET) // 2
    task = NodeTask()
    told(FLEET[:half], task)
    for nodes in ({"n1", "n3"}, {"n2"}):
        part = NodeTask()
        part.restore(split.keep(task.checkpoint(), nodes.__contains__, next_offset=half))
        rest = [record for record in FLEET[half:] if record.key in nodes or not record.key]
        said = [(each.key, each.value) for each in told(rest, part)]
        assert said == [
            (each.key, each.value)
            for each in WHOLE
            if each.offset >= half and Said([each]).predictions[0].node in nodes
        ]


def keys(said: Said) -> list[tuple[str, str]]:
    return [(output.key, output.kind) for output in said.outputs if output.topic == topics.PREDICTIONS]


def test_a_gpu_that_is_replaced_takes_its_prediction_and_its_history_along() -> None:
    log = story(GROWING[:50])
    other = Gpu(uuid="GPU-new", bdf="0000:01:00")
    log.frame("n1", 50 * HOUR, {GPU_TEMP: [50], ECC_SBE_VOLATILE: [5]}, gpus=[other]).tick(50 * HOUR + 10)
    said = judge(log)
    assert keys(said)[-1] == ("GPU-n1-0", "tombstone")


def test_a_prediction_moves_to_the_uuid_when_that_becomes_known() -> None:
    log = story(GROWING[:50], gpu=Gpu(bdf="0000:01:00"))
    known = Gpu(uuid="GPU-n1-0", bdf="0000:01:00")
    columns = {GPU_TEMP: [50], ECC_SBE_VOLATILE: [float(sum(GROWING[:50]))]}
    log.frame("n1", 50 * HOUR, columns, gpus=[known]).tick(50 * HOUR + 10)
    said = judge(log)
    assert keys(said)[-2:] == [("n1/0000:01:00", "tombstone"), ("GPU-n1-0", "prediction")]
    assert {key for key, _ in keys(said)[:-2]} == {"n1/0000:01:00"}


def test_steps_that_make_a_forecast_news_are_the_policys() -> None:
    def count(**steps: float) -> int:
        document = {"prediction": steps}
        return len(judge(story(GROWING[:55], policy=from_document("x", document))).predictions)

    every, few = count(hours_step_share=0.0, confidence_step=0.0), count(hours_step_share=1.0, confidence_step=1.0)
    assert every > few >= 3


def test_another_length_of_buckets_begins_anew() -> None:
    log = story(GROWING[:50])
    start = len(log.records)
    log.policy(50 * HOUR, from_document("x", {"prediction": {"points_every_s": 7200.0}}))
    log.frame("n1", 50 * HOUR + 60, {GPU_TEMP: [50], ECC_SBE_VOLATILE: [float(sum(GROWING[:50]))]})
    log.tick(50 * HOUR + 90)
    task = NodeTask()
    assert actions(judge(log.records[:start], task))[-1] is not MONITOR
    after: list[Prediction] = judge(log.records[start:], task).predictions
    assert [each.action for each in after] == [MONITOR]
    assert task.judges.predictions.histories[0].counts == []
