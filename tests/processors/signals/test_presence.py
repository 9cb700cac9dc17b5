from __future__ import annotations

from processors.node import NodeTask
from processors.signals.presence import Presence
from processors.testing import Observations, gpu, judge
from schemas.fields import GPU_TEMP


def levels(log: Observations, key: str) -> list[tuple[str, str]]:
    """Level and text at each change."""
    scores = judge(log, NodeTask(signals=(Presence(),))).scores
    return [(why.level, why.text) for score in scores if score.uuid == key for why in score.reasons]


def test_it_says_for_how_long() -> None:
    log = Observations().frame("n1", 5.0, {GPU_TEMP: 50}).ticks(6.0, 80.0)
    assert levels(log, gpu("n1").uuid) == [
        ("unknown", "no telemetry of this GPU for 10 s"),
        ("evict", "no telemetry of this GPU for 60 s"),
    ]


def test_a_gpu_that_is_only_listed_is_silent_since_then() -> None:
    log = Observations().inventory("n1", 5.0, 2)
    for second in range(6, 81):
        log.frame("n1", second, {GPU_TEMP: [50]}, gpus=[gpu("n1", 0)])
    assert [level for level, _ in levels(log, gpu("n1", 0).uuid)] == []
    assert [level for level, _ in levels(log, gpu("n1", 1).uuid)] == ["unknown", "evict"]


def test_a_blank_frame_is_a_sign_of_life() -> None:
    log = Observations()
    for second in range(1, 80):
        log.frame("n1", second, {GPU_TEMP: None})
    assert levels(log, gpu("n1").uuid) == []


def test_a_gpu_that_only_the_kernel_has_named_is_never_more_than_unknown() -> None:
    log = Observations().fault("n1", 5.0, 94).ticks(6.0, 200.0)
    assert [level for level, _ in levels(log, gpu("n1").uuid)] == ["unknown"]


def test_a_gpu_of_which_only_others_have_told_was_never_healthy() -> None:
    """A list, its links or a harmless Xid are no telemetry: no weight is given out, and none is frozen."""
    told = Observations().inventory("n1", 0.0).fault("n1", 1.0, 13).ticks(1.0, 40.0)
    said = judge(told).scores
    assert {score.condition for score in said} == {"unknown"}
    assert {reason.text for score in said for reason in score.reasons} == {"no telemetry of this GPU yet"}
    told.frame("n1", 41.0, {GPU_TEMP: [50]}).ticks(41.0, 50.0)
    assert judge(told).scores[-1].condition == "healthy"
