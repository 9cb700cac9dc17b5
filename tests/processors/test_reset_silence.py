"""An agent that resets a GPU says nothing of any GPU of its node meanwhile: for how long that fails nobody.

All GPUs of node n1 speak until second `LAST`; times are seconds of the stream after that.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.node import NodeTask
from processors.policy import from_document
from processors.resets import LETTING_GO_S
from processors.testing import Observations, decide, gpu, judge, ms
from schemas import records
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE, GPU_TEMP, MEM_CLOCK
from schemas.states import Condition
from tests.processors.node_stories import GPU0, LAST, alive, begin, found

GPU1 = gpu("n1", 1).uuid
BOUND_S = 120  # reset_limit_s and reset_grace_s
LOST = "presence", "evict"


def result(
    log: Observations, at_s: float, state: str, id_: str = "c1", *, action: str = "reset", ts_s: float = 0
) -> None:
    """ts_s: when the agent says that it was so; 0: as it comes."""
    told = records.CommandResult(ts=0, node="n1", id=id_, action=action, state=state, uuid=GPU0)
    if ts_s:
        told.ts = ms(ts_s)
        log.add(at_s, "n1", "command-result", records.encode(told))
    else:
        log.report(at_s, told)


def silent(log: Observations, start_s: int = LAST + 1, end_s: int = 400) -> Observations:
    return log.ticks(start_s, end_s)


def lost_at(log: Observations, key: str = GPU0) -> int | None:
    told = found(log, key)
    assert ("presence", "unknown") in told, "it is unknown meanwhile"
    return told.get(LOST)


def test_a_reset_of_which_no_result_comes_excuses_up_to_its_bound() -> None:
    result(log := begin(), LAST, "started")
    silent(log)
    for key in (GPU0, GPU1):
        assert lost_at(log, key) == pytest.approx(BOUND_S, abs=5)
    failed = [change for change in judge(log).conditions if change.condition is Condition.FAILED]
    assert failed[0].hard


@pytest.mark.parametrize("state", ["done", "failed", "indeterminate"])
def test_after_its_result_the_sources_have_a_grace_to_come_back(state: str) -> None:
    result(log := begin(), LAST, "started")
    silent(log, end_s=LAST + 30)
    result(log, LAST + 30, state)
    assert lost_at(silent(log, LAST + 31)) == pytest.approx(30 + 60, abs=5)


def test_a_node_that_comes_back_in_time_was_unknown_and_loses_no_weight() -> None:
    result(log := begin(), LAST, "started")
    silent(log, end_s=LAST + 70)
    result(log, LAST + 70, "done")
    silent(log, LAST + 71, LAST + 90)
    alive(log, LAST + 91, LAST + 120)
    said = judge(log)
    assert not decide(said).evictions
    assert {decision.weight for decision in decide(said).decisions} == {1.0}
    assert found(log).keys() == {("", "healthy"), ("", "unknown"), ("presence", "unknown")}
    assert said.latest[GPU0].condition is Condition.HEALTHY


@pytest.mark.parametrize("state", ["refused", "dry-run", "cancelled", "done", "failed"])
def test_what_was_not_started_excuses_nothing(state: str) -> None:
    result(log := begin(), LAST, state)
    assert lost_at(silent(log)) == pytest.approx(60, abs=5)


def test_a_diagnostic_excuses_nothing_as_the_sources_go_on() -> None:
    result(log := begin(), LAST, "started", action="diagnose")
    assert lost_at(silent(log)) == pytest.approx(60, abs=5)


def test_a_word_that_is_said_again_changes_nothing() -> None:
    result(log := begin(), LAST, "started")
    silent(log, end_s=LAST + 20)
    result(log, LAST + 20, "done")
    for second in range(LAST + 21, 400):
        log.tick(second)
        if second % 7 == 0:
            result(log, second, "started")
            result(log, second, "done")
    assert lost_at(log) == pytest.approx(20 + 60, abs=5)


def test_a_word_of_long_ago_excuses_nothing() -> None:
    result(log := begin(), LAST, "started", ts_s=LAST - BOUND_S)
    assert lost_at(silent(log)) == pytest.approx(60, abs=5)


def test_a_gpu_that_was_lost_before_is_not_excused() -> None:
    log = begin()
    alive(log, LAST + 1, LAST + 40, -1)
    result(log, LAST + 40, "started")
    assert found(silent(log, LAST + 41))[LOST] == pytest.approx(60, abs=5)
    assert lost_at(log, GPU1) == pytest.approx(40 + BOUND_S, abs=5)


@pytest.mark.parametrize(("waited_s", "lost_s"), [(25, 25 + BOUND_S), (35, 60)])
def test_sources_may_need_a_while_to_let_go_before_it_starts(waited_s: int, lost_s: int) -> None:
    silent(log := begin(), end_s=LAST + waited_s)
    result(log, LAST + waited_s, "started")
    assert lost_at(silent(log, LAST + waited_s + 1)) == pytest.approx(lost_s, abs=5)


def test_a_node_that_dies_after_it_came_back_is_found_as_soon_as_ever() -> None:
    result(log := begin(), LAST, "started")
    silent(log, end_s=LAST + 20)
    result(log, LAST + 20, "done")
    alive(log, LAST + 21, LAST + 30)
    assert lost_at(silent(log, LAST + 31)) == pytest.approx(30 + 60, abs=5)


def test_two_resets_of_a_node_at_a_time_count_as_one_silence() -> None:
    result(log := begin(), LAST, "started", "c1")
    silent(log, end_s=LAST + 15)
    result(log, LAST + 15, "started", "c2")
    result(log, LAST + 15, "done", "c2")
    assert lost_at(silent(log, LAST + 16)) == pytest.approx(BOUND_S, abs=5)


def test_other_nodes_are_not_excused() -> None:
    log = begin()
    alive(log, 1, LAST, node="n2")
    result(log, LAST, "started")
    assert found(silent(log), gpu("n2", 0).uuid)[LOST] == pytest.approx(60, abs=5)


def test_how_long_a_reset_may_take_is_policy() -> None:
    policy = from_document("slow", {"signals": {"presence": {"reset_limit_s": 200.0, "reset_grace_s": 30.0}}})
    log = Observations().policy(0, policy).inventory("n1", 0, 2, boot="b1")
    alive(log, 1, LAST)
    result(log, LAST, "started")
    assert lost_at(silent(log)) == pytest.approx(230, abs=5)


_words = st.lists(
    st.tuples(st.integers(1, 100), st.sampled_from(["started", "done", "failed"]), st.sampled_from(["c1", "c2", "c3"])),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(_words)
def test_whatever_is_said_of_resets_a_dead_node_is_found_within_the_bound(words: list[tuple[int, str, str]]) -> None:
    """Also where somebody forges one word after the other; a reset may begin thirty seconds after the last frame."""
    log, now = begin(), LAST
    for wait_s, state, id_ in words:
        log.ticks(now + 1, now + wait_s)
        now += wait_s
        result(log, now, state, id_)
    log.ticks(now + 1, max(now, LAST) + 200)
    at_s = lost_at(log)
    assert at_s is not None
    assert 60 <= at_s <= LETTING_GO_S + BOUND_S + 5
    if not any(state == "started" for _, state, _ in words):
        assert at_s <= 65


def test_a_checkpoint_keeps_what_is_known_of_a_reset_and_an_older_one_knows_of_none() -> None:
    result(log := begin(), LAST, "started")
    task = NodeTask()
    task.step(log.records)
    saved = task.judges.save()
    assert saved["resets"] == [["n1", "c1", saved["resets"][0][2], -1]]
    saved.pop("resets")
    older = NodeTask()
    older.restore(task.checkpoint())
    older.judges.load(saved)
    assert older.judges.save()["resets"] == []


# --- what a reset does to counters --------------------------------------------------------------------------------


def counted(log: Observations, start_s: int, end_s: int, correctable: int, uncorrectable: int) -> None:
    values = {GPU_TEMP: 50, MEM_CLOCK: 1500, ECC_SBE_VOLATILE: correctable, ECC_DBE_VOLATILE: uncorrectable}
    for second in range(start_s, end_s + 1):
        log.frame("n1", second, values, gpus=2)


def test_counters_that_a_reset_has_put_back_are_no_errors_and_no_new_boot() -> None:
    """The driver goes on, so nothing else says that they began anew."""
    log = Observations().inventory("n1", 0, 2, boot="b1", driver_load="1")
    counted(log, 1, LAST, 4, 0)
    result(log, LAST, "started")
    silent(log, end_s=LAST + 30)
    result(log, LAST + 30, "done")
    log.inventory("n1", LAST + 31, 2, boot="b1", driver_load="1")
    counted(log, LAST + 32, LAST + 60, 0, 0)
    said = judge(log)
    assert said.latest[GPU0].condition is Condition.HEALTHY
    assert said.latest[GPU0].reasons == []
    assert {(rate.level, rate.value) for rate in said.rates} == {("fine", 0.0)}
    assert not said.dead_letters


def test_an_error_after_a_reset_counts_though_the_counter_is_lower_than_before() -> None:
    log = Observations().inventory("n1", 0, 2, boot="b1", driver_load="1")
    counted(log, 1, LAST, 1000, 0)
    silent(log, end_s=LAST + 5)
    counted(log, LAST + 6, LAST + 10, 0, 0)
    counted(log, LAST + 11, LAST + 20, 0, 1)
    latest = judge(log).latest[GPU0]
    assert {reason.signal for reason in latest.reasons} == {"uncorrectable_ecc"}
    assert latest.condition is Condition.FAILED
