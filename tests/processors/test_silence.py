"""Why a GPU is not heard of: every cause told apart, with its response and its time to detect.

In all stories the GPUs of node n1 speak until second 20; times to detect are seconds of the stream after that.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import Observations, decide, gpu, judge, ms
from schemas.fields import GPU_TEMP, MEM_CLOCK
from schemas.states import Condition
from tests.processors.node_stories import GPU0, LAST, Found, alive, begin, failing, found, status, word

# --- what each cause looks like ------------------------------------------------------------------------------


def node_is_dead() -> Observations:
    return begin().ticks(LAST + 1, 120)


def engine_is_down() -> Observations:
    failing(log := begin(), LAST + 1, 900, "dcgm", "engine-down")
    return log


def exporter_is_down() -> Observations:
    failing(log := begin(), LAST + 1, 200, "exporter:http://n1:9400", "exporter-down")
    return log


def driver_hangs() -> Observations:
    failing(log := begin(), LAST + 5, 120, "nvml", "hung")
    return log


def driver_is_not_there() -> Observations:
    failing(log := begin(), LAST + 1, 700, "nvml", "driver")
    return log


def engine_is_down_then_the_node() -> Observations:
    failing(log := begin(), LAST + 1, LAST + 31, "dcgm", "engine-down")
    return log.ticks(LAST + 32, 200)


def all_is_blank() -> Observations:
    log = begin()
    for second in range(LAST + 1, 120):
        log.frame("n1", second, {GPU_TEMP: None, MEM_CLOCK: None}, gpus=2)
    return log


def all_is_blank_and_the_engine_stands_still() -> Observations:
    status(log := begin(), LAST, "failing", "dcgm", "stopped")
    for second in range(LAST + 1, 120):
        log.frame("n1", second, {GPU_TEMP: None, MEM_CLOCK: None}, gpus=2)
    return log


def gpu_is_not_listed() -> Observations:
    log = begin().inventory("n1", LAST, [gpu("n1", 1)], boot="b1")
    alive(log, LAST + 1, 120, -1)
    return log


def gpu_is_not_in_frames() -> Observations:
    alive(log := begin(), LAST + 1, 120, -1)
    return log


def node_restarts() -> Observations:
    status(log := begin(), LAST, "ended", "agent")
    return log.ticks(LAST + 1, 700)


def work_is_planned() -> Observations:
    word(log := begin(), LAST, "maintenance", 500)
    return log.ticks(LAST + 1, 480)


def work_overruns() -> Observations:
    word(log := begin(), LAST, "maintenance", 100)
    return log.ticks(LAST + 1, 300)


CASES: dict[Callable[[], Observations], Found] = {
    node_is_dead: {
        ("presence", "unknown"): 10,
        ("presence", "evict"): 60,
        ("", "unknown"): 10,
        ("", "failed"): 60,
    },
    engine_is_down: {("presence", "unknown"): 10, ("telemetry_source", "unknown"): 10, ("", "unknown"): 10},
    exporter_is_down: {("presence", "unknown"): 10, ("telemetry_source", "unknown"): 10, ("", "unknown"): 10},
    driver_hangs: {
        ("presence", "unknown"): 10,
        ("telemetry_source", "unknown"): 10,
        ("telemetry_source", "evict"): 65,  # 60 s since it was first told
        ("", "unknown"): 10,
        ("", "failed"): 65,
    },
    driver_is_not_there: {
        ("presence", "unknown"): 10,
        ("telemetry_source", "unknown"): 10,
        ("telemetry_source", "evict"): 605,
        ("", "unknown"): 10,
        ("", "failed"): 605,
    },
    engine_is_down_then_the_node: {
        ("presence", "unknown"): 10,
        ("telemetry_source", "unknown"): 10,
        ("presence", "evict"): 95,  # 60 s after the agent's last word, at second 31
        ("", "unknown"): 10,
        ("", "failed"): 95,
    },
    all_is_blank: {("blanks", "unknown"): 10, ("", "unknown"): 10},
    all_is_blank_and_the_engine_stands_still: {
        ("blanks", "unknown"): 10,
        ("telemetry_source", "unknown"): 10,
        ("", "unknown"): 10,
    },
    gpu_is_not_listed: {
        ("presence", "unknown"): 10,
        ("gone", "evict"): 30,
        ("presence", "evict"): 60,
        ("", "unknown"): 10,
        ("", "failed"): 30,
    },
    gpu_is_not_in_frames: {
        ("presence", "unknown"): 10,
        ("gone", "evict"): 60,
        ("presence", "evict"): 60,
        ("", "unknown"): 10,
        ("", "failed"): 60,
    },
    node_restarts: {
        ("presence", "unknown"): 10,
        ("restart", "unknown"): 10,
        ("presence", "evict"): 600,
        ("", "unknown"): 10,
        ("", "failed"): 600,
    },
    work_is_planned: {("maintenance", "evict"): 5, ("presence", "unknown"): 10, ("", "failed"): 5},
    work_overruns: {
        ("maintenance", "evict"): 5,
        ("presence", "unknown"): 10,
        ("maintenance_overrun", "evict"): 80,  # the time is over at second 100
        ("presence", "evict"): 140,
        ("", "failed"): 5,
    },
}


@pytest.mark.parametrize("story", CASES, ids=lambda story: story.__name__)
def test_each_cause_has_its_reasons_its_response_and_its_time(story: Callable[[], Observations]) -> None:
    told = {what: at_s for what, at_s in found(story()).items() if what != ("", "healthy")}
    assert told.keys() == CASES[story].keys()
    late = {what: at_s - CASES[story][what] for what, at_s in told.items()}
    assert all(0 <= seconds <= 5 for seconds in late.values()), f"beyond the timer's grid of 5 s: {late}"


def test_no_two_causes_look_the_same() -> None:
    looks = [frozenset(expected) for expected in CASES.values()]
    alike = {story.__name__ for story, expected in CASES.items() if looks.count(frozenset(expected)) > 1}
    # Told apart by the text of the source's reason; the last two by their time, and by who else is silent.
    assert alike == {
        "engine_is_down",
        "exporter_is_down",
        "driver_hangs",
        "driver_is_not_there",
        "gpu_is_not_listed",
        "gpu_is_not_in_frames",
    }


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (engine_is_down, "source dcgm: the host engine cannot be reached"),
        (exporter_is_down, "source exporter: the exporter cannot be reached"),
        (driver_hangs, "source nvml: calls get no answer, the driver hangs"),
        (driver_is_not_there, "source nvml: the driver is not loaded, or shows no GPU"),
    ],
)
def test_the_source_is_named_with_what_is_wrong(story: Callable[[], Observations], words: str) -> None:
    reasons = judge(story()).latest[GPU0].reasons
    assert words in [reason.text for reason in reasons if reason.signal == "telemetry_source"]


@pytest.mark.parametrize("story", [node_is_dead, driver_hangs, gpu_is_not_listed, gpu_is_not_in_frames])
def test_a_lost_gpu_gets_no_traffic_whatever_the_budget(story: Callable[[], Observations]) -> None:
    said = judge(story())
    failed = [change for change in said.conditions if change.condition is Condition.FAILED and change.uuid == GPU0]
    assert failed[0].hard
    assert decide(said).decisions[-1].weight == 0.0


@pytest.mark.parametrize("story", [engine_is_down, exporter_is_down, all_is_blank])
def test_unknown_keeps_the_weight(story: Callable[[], Observations]) -> None:
    decided = decide(judge(story()))
    assert not decided.evictions
    assert {decision.weight for decision in decided.decisions if decision.uuid == GPU0} == {1.0}


def test_a_source_that_is_down_can_be_a_failure_by_policy() -> None:
    policy = from_document("strict", {"signals": {"telemetry_source": {"source_down_failed_after_s": 120.0}}})
    log = Observations().policy(0, policy)
    alive(log, 1, LAST)
    failing(log, LAST + 1, 200, "dcgm", "engine-down")
    assert found(log)["telemetry_source", "evict"] == pytest.approx(120, abs=5)


def test_one_cause_hides_no_other() -> None:
    log = begin().fault("n1", LAST, 79)
    word(log, LAST, "maintenance", 500)
    failing(log, LAST + 1, 200, "dcgm", "engine-down")
    latest = judge(log).latest[GPU0]
    signals = {reason.signal for reason in latest.reasons}
    assert {"xid", "maintenance", "presence", "telemetry_source"} <= signals


def test_a_source_of_kernel_lines_excuses_nobody() -> None:
    failing(log := begin(), LAST + 1, 120, "kmsg", "permission")
    assert found(log)["presence", "evict"] == pytest.approx(60, abs=5)


def test_a_gpu_that_was_silent_before_its_node_is_not_excused_by_the_source() -> None:
    log = begin()
    alive(log, LAST + 1, 50, -1)
    failing(log, 51, 120, "dcgm", "engine-down")
    assert found(log)["presence", "evict"] == pytest.approx(60, abs=5)
    assert ("presence", "evict") not in found(log, gpu("n1", 1).uuid)


# --- habits that are none of these ---------------------------------------------------------------------------


def agent_restarts() -> Observations:
    status(log := begin(), LAST, "ended", "agent")
    alive(log.ticks(LAST + 1, LAST + 6), LAST + 7, 60, epoch=2)
    return log


def agent_is_killed() -> Observations:
    alive(log := begin().ticks(LAST + 1, LAST + 50), LAST + 51, 120, epoch=2)
    return log


def exporter_restarts() -> Observations:
    failing(log := begin(), LAST + 1, LAST + 90, "exporter:http://n1:9400", "exporter-down")
    status(log, LAST + 91, "ok", "exporter:http://n1:9400")
    alive(log, LAST + 92, 200)
    return log


def node_reboots_in_time() -> Observations:
    status(log := begin(), LAST, "ended", "agent")
    log.ticks(LAST + 1, 500)
    log.inventory("n1", 501, 2, epoch=2, boot="b2")
    alive(log, 502, 560, epoch=2)
    return log


def mig_is_set_up() -> Observations:
    log = begin().inventory("n1", LAST, [gpu("n1", 1)], boot="b1")
    alive(log, LAST + 1, LAST + 25, -1)
    log.inventory("n1", LAST + 26, 2, boot="b1")
    alive(log, LAST + 27, 120)
    return log


def driver_is_loaded_anew() -> Observations:
    """The list shrinks GPU by GPU, is empty, and the agent says why nothing is heard."""
    log = begin().inventory("n1", LAST, [gpu("n1", 1)], boot="b1", driver_load="1")
    alive(log, LAST + 1, LAST + 2, -1)
    log.inventory("n1", LAST + 3, [], boot="b1", driver_load="1")
    failing(log, LAST + 4, LAST + 300, "nvml", "driver")
    log.inventory("n1", LAST + 301, 2, boot="b1", driver_load="2")
    alive(log, LAST + 302, 400)
    return log


HABITS = [
    agent_restarts,
    agent_is_killed,
    exporter_restarts,
    node_reboots_in_time,
    mig_is_set_up,
    driver_is_loaded_anew,
]


@pytest.mark.parametrize("habit", HABITS)
def test_habits_of_sound_nodes_evict_nobody(habit: Callable[[], Observations]) -> None:
    log = habit()
    said = judge(log)
    assert not decide(said).evictions
    for key in (GPU0, gpu("n1", 1).uuid):
        told = found(log, key)
        assert not [what for what in told if what[1] == "evict"]
        assert said.latest[key].condition is Condition.HEALTHY, key
        assert not said.latest[key].reasons


def test_an_agent_that_restarts_within_seconds_is_nothing_at_all() -> None:
    assert found(agent_restarts()).keys() == {("", "healthy")}


def test_a_gpu_that_is_missing_after_the_reboot_is_gone() -> None:
    status(log := begin(), LAST, "ended", "agent")
    log.ticks(LAST + 1, 300).inventory("n1", 301, [gpu("n1", 1)], epoch=2, boot="b2")
    alive(log, 302, 400, -1, epoch=2)
    told = found(log)
    assert told["gone", "evict"] == pytest.approx(301 + 30 - LAST, abs=5)
    assert told["restart", "unknown"] == pytest.approx(10, abs=5)


def test_a_gpu_that_comes_seconds_after_the_others_is_not_gone() -> None:
    status(log := begin(), LAST, "ended", "agent")
    log.ticks(LAST + 1, 300).inventory("n1", 301, 2, epoch=2, boot="b2").ticks(302, 312)
    alive(log, 313, 325, -1, epoch=2)
    alive(log, 326, 400, 2, epoch=2)
    assert not [what for what in found(log) if what[1] == "evict"]


def test_a_gpu_that_comes_back_is_not_gone_at_its_next_short_silence() -> None:
    log = begin().inventory("n1", LAST, [gpu("n1", 1)])
    alive(log, LAST + 1, 60, -1)
    log.inventory("n1", 61, 2)
    alive(log, 62, 100)
    alive(log, 101, 140, -1)
    gone = [score.ts for score in judge(log).scores if score.uuid == GPU0 and score.reasons]
    later = [
        reason.signal
        for score in judge(log).scores
        if score.uuid == GPU0 and score.ts > ms(105)
        for reason in score.reasons
        if reason.level == "evict"
    ]
    assert gone
    assert later == []


@pytest.mark.parametrize("story", [*CASES, *HABITS])
def test_neither_batches_nor_checkpoints_matter(story: Callable[[], Observations]) -> None:
    records_ = story().records
    task = NodeTask()
    outputs, state = task.step(records_), task.checkpoint()
    for size, restores in ((7, True), (50, False)):
        other, said = NodeTask(), []
        for start in range(0, len(records_), size):
            said += other.step(records_[start : start + size])
            if restores:
                saved, other = other.checkpoint(), NodeTask()
                other.restore(saved)
        assert said == outputs
        assert other.checkpoint() == state
