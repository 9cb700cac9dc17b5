from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policies import load
from processors.policy import from_document
from processors.testing import Observations, Said, gpu, judge, ms
from schemas import records
from schemas.fields import GPU_TEMP
from schemas.records import Score
from schemas.states import Action


def printed(*faults: tuple[float, int], **more: Any) -> Observations:
    log = Observations()
    for second in range(1, 7):
        log.frame("n1", second, {GPU_TEMP: 50})
    for at_s, code in faults:
        log.fault("n1", at_s, code, **more)
    return log


def only(said: Said) -> Score:
    (score,) = said.latest.values()
    return score


def test_the_reason_in_words() -> None:
    assert only(judge(printed((7, 64)))).reasons[0].text == "Xid 64: page retirement or row remap failed"


def test_of_many_the_gravest_are_remembered() -> None:
    """Four: page after page of milder ones does not push them out, in whatever order they come."""
    mild = [(20.0 + 6 * number, code) for number, code in enumerate([45, 63, 74, 144, 145, 146, 147])]
    for log in (printed((7, 64), (8, 48), *mild), printed(*mild, (90, 64), (91, 48))):
        change = judge(log).conditions[-1]
        assert (change.action, change.corruption, change.hard) == (Action.EVICT_PERMANENTLY, True, True)


def test_a_milder_xid_behind_a_graver_one_says_nothing_new() -> None:
    said = judge(printed((7, 79), (20, 31), (30, 45)))
    assert [change.action for change in said.conditions] == [Action.NONE, Action.REMOVE_NODE]


def test_the_same_xid_again_within_the_hour_starts_the_hour_again() -> None:
    log = printed((7, 45), (3000, 45))
    for minute in range(51, 109):
        log.frame("n1", 60.0 * minute, {GPU_TEMP: 50})
    assert only(judge(log)).score == 0.7
    log.frame("n1", 60.0 * 111, {GPU_TEMP: 50}).frame("n1", 60.0 * 112, {GPU_TEMP: 50})
    assert only(judge(log)).score == 1.0


@pytest.mark.parametrize(
    ("response", "score", "action"),
    [
        ("monitor", 1.0, Action.NONE),
        ("lower_score", 0.7, Action.MONITOR),
        ("evict", 0.0, Action.EVICT),
        ("evict_permanently", 0.0, Action.EVICT_PERMANENTLY),
        ("remove_node", 0.0, Action.REMOVE_NODE),
    ],
)
@pytest.mark.parametrize("code", [31, 48, 13, 777])
def test_a_policy_may_answer_otherwise(code: int, response: str, score: float, action: Action) -> None:
    policy = from_document("x", {"signals": {"xid": {"responses": {str(code): response}}}})
    change = judge(Observations().policy(0.0, policy).records + printed((7, code), (20, code)).records).conditions[-1]
    assert (change.score, change.action) == (score, action)


def test_a_demoted_xid_counts_again_under_the_next_policy() -> None:
    mild = from_document("mild", {"signals": {"xid": {"responses": {"31": "monitor"}}}})
    log = printed((7, 31)).policy(10.0, mild)
    assert (only(judge(log)).score, only(judge(log)).held) == (1.0, 0.0)  # better, and waits
    assert only(judge(log.policy(20.0, load("default")))).score == 0.0


def test_repeats_count_for_whoever_was_put_back() -> None:
    """A second Xid 48 is permanent; lines of one event are not a second."""
    assert judge(printed((7, 48), (8, 48), (9, 48))).conditions[-1].action is Action.EVICT
    log = printed((7, 48)).restore("n1", 20.0).fault("n1", 30.0, 48)
    assert judge(log).conditions[-1].action is Action.EVICT_PERMANENTLY
    assert only(judge(log.restore("n1", 40.0))).score == 1.0


DAY = 86_400.0


@pytest.mark.parametrize(
    ("days", "policy", "action"),
    [
        (29.9, "default", Action.EVICT_PERMANENTLY),
        (30.1, "default", Action.EVICT),
        (400.0, "spec", Action.EVICT_PERMANENTLY),
    ],
)
def test_a_double_bit_error_after_the_days_of_the_policy_is_not_a_second_one(
    days: float, policy: str, action: Action
) -> None:
    log = printed((7, 48)).policy(8.0, load(policy)).restore("n1", 20.0).fault("n1", 20.0 + days * DAY, 48)
    assert judge(log).conditions[-1].action is action


def test_another_policy_counts_the_days_anew() -> None:
    alone = {"node": {"repeat_days": 0.0}}  # without the rule on corruption of any kind
    log = printed((7, 48)).policy(8.0, from_document("x", alone)).restore("n1", 20.0).fault("n1", 10 * DAY, 48)
    assert judge(log).conditions[-1].action is Action.EVICT_PERMANENTLY
    shorter = from_document("y", alone | {"signals": {"xid": {"repeat_days": 7.0}}})
    assert judge(log.policy(10 * DAY + 10, shorter)).conditions[-1].action is Action.EVICT


@settings(max_examples=50)
@given(st.lists(st.sampled_from([31, 43, 45, 48, 63, 64, 79, 94, 119, 13, 999]), max_size=12), st.randoms())
def test_the_order_of_xids_does_not_matter(codes: list[int], random: Any) -> None:
    shuffled = list(codes)
    random.shuffle(shuffled)
    ends = []
    for each in (codes, shuffled):
        log = printed(*[(10.0 + 6 * number, code) for number, code in enumerate(each)]).tick(100.0)
        last = judge(log).conditions[-1]
        ends.append((last.score, last.action, last.hard, last.corruption))
    assert ends[0] == ends[1]


FATAL = "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x004505c6 0x00000000)"
HARMLESS = "NETIR_BER_EVENT Nonfatal XC0 i0 Link 00 (0x00000013 0x00000001)"
UNREADABLE = "NETIR_NEW Nonfatal XC0 i0 Link 00 (0x0000007f 0x00000001)"


@pytest.mark.parametrize(
    ("messages", "score", "action"),
    [
        ((HARMLESS,), 1.0, Action.NONE),
        ((UNREADABLE,), 0.7, Action.MONITOR),
        ((FATAL,), 0.0, Action.EVICT),
        ((FATAL, HARMLESS), 0.0, Action.EVICT),
        ((HARMLESS, FATAL), 0.0, Action.EVICT),
        ((FATAL, UNREADABLE), 0.0, Action.EVICT),
        ((UNREADABLE, HARMLESS), 0.7, Action.MONITOR),
    ],
)
def test_of_messages_of_one_code_the_gravest_counts(messages: tuple[str, ...], score: float, action: Action) -> None:
    log = printed()
    for number, message in enumerate(messages):
        log.fault("n1", 7.0 + 10 * number, 149, message=message)
    change = judge(log.tick(60.0)).conditions[-1]
    assert (change.score, change.action) == (score, action)


def test_the_drivers_newest_recovery_action_holds() -> None:
    log = printed((7, 1)).fault("n1", 8.0, 154, recovery_action=2).fault("n1", 20.0, 154, recovery_action=1)
    assert judge(log).conditions[-1].action is Action.EVICT


def diagnosed(log: Observations, started_s: float, at_s: float, result: str = "pass", level: int = 2) -> Observations:
    told = records.Diagnostic(
        ts=0, node="n1", tool="dcgmi diag", level=level, result=result, started=ms(started_s), uuid=gpu("n1").uuid
    )
    return log.report(at_s, told).tick(at_s + 5)


def standing(said: Said) -> set[str]:
    return {why.text.partition(":")[0] for why in only(said).reasons if why.signal == "xid"}


@pytest.mark.parametrize(
    ("codes", "left"),
    [
        ([61], Action.NONE),
        ([119], Action.NONE),
        ([79], Action.NONE),
        ([61, 119], Action.NONE),
        ([48], Action.EVICT),  # outputs may have been wrong, whatever the memory does now
        ([61, 48], Action.EVICT),
        ([64], Action.EVICT_PERMANENTLY),  # no spare row grows back
        ([119, 64], Action.EVICT_PERMANENTLY),
    ],
)
def test_a_diagnostic_that_began_later_and_passed_ends_an_eviction(codes: list[int], left: Action) -> None:
    log = diagnosed(printed(*((7.0 + at, code) for at, code in enumerate(codes))), 20.0, 30.0)
    said = judge(log)
    assert said.conditions[-1].action is left or (only(said).score, left) == (1.0, Action.NONE)
    assert standing(said) == {f"Xid {code}" for code in codes if code in (48, 64)}


@pytest.mark.parametrize(
    ("started_s", "result", "level"), [(20.0, "pass", 1), (20.0, "warn", 2), (20.0, "incomplete", 2), (8.0, "pass", 2)]
)
def test_no_lesser_diagnostic_does_nor_one_that_began_before(started_s: float, result: str, level: int) -> None:
    said = judge(diagnosed(printed((9, 61)), started_s, 30.0, result, level))
    assert (said.conditions[-1].action, standing(said)) == (Action.EVICT, {"Xid 61"})


def test_what_comes_during_a_diagnostic_stands_and_the_same_xid_later_is_news() -> None:
    during = diagnosed(printed((7, 61), (25, 119)), 20.0, 30.0)
    assert standing(judge(during)) == {"Xid 119"}
    later = diagnosed(printed((7, 61)), 20.0, 30.0).fault("n1", 40.0, 61).tick(45.0)
    assert judge(later).conditions[-1].action is Action.EVICT
