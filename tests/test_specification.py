"""The product specification as tables: under the policy `spec` every figure holds, equality at limits included.

Everything goes through the stages, from the records that nodes send to the decisions that schedulers read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pipeline.policies import load, merge
from processors.policy import Policy, from_document
from processors.testing import Observations, Said, decide, gpu, judge
from schemas.fields import (
    ECC_DBE_VOLATILE,
    ECC_SBE_VOLATILE,
    GPU_TEMP,
    NVLINK_CRC_FLIT_TOTAL,
    PCIE_REPLAY_COUNTER,
    RETIRED_DBE,
    RETIRED_SBE,
    SM_CLOCK,
)
from schemas.records import Reason, Score
from schemas.states import Action, CaseState, Condition

SPEC = load("spec")
KEY = gpu("n1").uuid


def spec(**given: Any) -> Policy:
    """`spec` with some keys set otherwise."""
    return from_document("test", merge(msgspec.to_builtins(SPEC.values), given))


def under(policy: Policy) -> Observations:
    return Observations().policy(0.0, policy)


def only(said: Said) -> Score:
    """The newest score of the one GPU."""
    (score,) = said.latest.values()
    return score


def reason(score: Score, signal: str) -> Reason:
    (found,) = [reason for reason in score.reasons if reason.signal == signal]
    return found


# --- section 3: the score ----------------------------------------------------------------------------------------

# Per signal: its fields, the values and what each makes of the score, its unit. Limits are strict ("more than").
FINE, BOOST = 1.0, 1830.0
GAUGES = {
    "temperature": (
        GPU_TEMP,
        "C",
        [(79.5, FINE), (80.0, FINE), (80.5, 0.7), (85.0, 0.7), (85.5, 0.4), (90.0, 0.4), (90.5, 0.0)],
    ),
    "clocks": (  # percent below boost: 5.0, 15.0 and 30.0 are exactly these clocks
        SM_CLOCK,
        "%",
        [
            (BOOST + 150, FINE),
            (BOOST * 0.95 + 0.5, FINE),
            (1738.5, FINE),
            (1738.0, 0.7),
            (1555.5, 0.7),
            (1555.0, 0.4),
            (1281.0, 0.4),
            (1280.5, 0.2),
            (345.0, 0.2),
        ],
    ),
}
RATES = {
    "correctable_ecc": (
        ECC_SBE_VOLATILE,
        "errors/h",
        [(9, FINE), (10, FINE), (11, 0.7), (100, 0.7), (101, 0.3), (1000, 0.3), (1001, 0.0)],
    ),
    "nvlink_crc": (
        NVLINK_CRC_FLIT_TOTAL,
        "errors/h",
        [(99, FINE), (100, FINE), (101, 0.7), (10_000, 0.7), (10_001, 0.3), (100_000, 0.3), (100_001, 0.0)],
    ),
}
UNCORRECTABLE = [(0, FINE), (1, 0.1), (2, 0.1), (3, 0.0), (4, 0.0)]  # at least one, at least three
PAGES = [
    ((9, 0), FINE),
    ((10, 0), FINE),
    ((5, 5), FINE),
    ((5, 6), 0.7),
    ((0, 11), 0.7),
    ((20, 20), 0.7),
    ((20, 21), 0.3),
    ((30, 30), 0.3),
    ((31, 30), 0.0),
    ((63, 0), 0.0),
]
BANDS = {
    1.0: Condition.HEALTHY,
    0.7: Condition.WARNING,
    0.4: Condition.DEGRADED,
    0.3: Condition.FAILED,
    0.2: Condition.FAILED,
    0.1: Condition.FAILED,
    0.0: Condition.FAILED,
}


def rows(table: dict[str, tuple[int, str, list[tuple[float, float]]]]) -> list[Any]:
    return [
        pytest.param(signal, field, unit, value, score, id=f"{signal}-{value:g}")
        for signal, (field, unit, values) in table.items()
        for value, score in values
    ]


def check(said: Said, signal: str, unit: str, value: float, score: float) -> None:
    newest = only(said)
    assert (newest.score, newest.held, newest.condition) == (score, score, BANDS[score])
    if score == FINE:
        assert newest.reasons == []
        return
    why = reason(newest, signal)
    assert newest.reasons == [why]
    assert (why.cap, why.unit) == (score, unit)
    assert why.value == pytest.approx(value)


@pytest.mark.parametrize(("signal", "field", "unit", "value", "score"), rows(GAUGES))
def test_a_gauge_caps_the_score(signal: str, field: int, unit: str, value: float, score: float) -> None:
    judged_by = 100 * (BOOST - value) / BOOST if signal == "clocks" else value
    check(judge(under(SPEC).frame("n1", 1.0, {field: value}).tick(10.0)), signal, unit, judged_by, score)


@pytest.mark.parametrize(("signal", "field", "unit", "value", "score"), rows(RATES))
def test_errors_within_an_hour_cap_the_score(signal: str, field: int, unit: str, value: float, score: float) -> None:
    log = under(SPEC)
    log.frame("n1", 1.0, {field: 7}).frame("n1", 2.0, {field: 7})  # what was there at first is not counted
    log.frame("n1", 3500.0, {field: 7 + value}).tick(3505.0)
    check(judge(log), signal, unit, value, score)


@pytest.mark.parametrize("signal", RATES)
def test_errors_add_up_over_an_hour(signal: str) -> None:
    field, _, values = RATES[signal]
    limit = int(values[1][0])
    log = under(SPEC).frame("n1", 1.0, {field: 0})
    for number in range(1, 11):
        log.frame("n1", 350.0 * number, {field: limit * number // 10})
    assert only(judge(log)).score == FINE
    assert only(judge(log.frame("n1", 3550.0, {field: limit + 1}))).score == 0.7


@pytest.mark.parametrize("signal", RATES)
def test_errors_of_the_hour_before_do_not_count(signal: str) -> None:
    field, _, _ = RATES[signal]
    log = under(SPEC).frame("n1", 1.0, {field: 0}).frame("n1", 2.0, {field: 200_000}).tick(3000.0)
    assert only(judge(log)).score == 0.0
    log.frame("n1", 3660.0, {field: 200_000}).tick(3670.0)
    assert only(judge(log)).score == FINE


@pytest.mark.parametrize(("count", "score"), UNCORRECTABLE)
def test_uncorrectable_errors_are_critical_from_the_first(count: int, score: float) -> None:
    said = judge(under(SPEC).frame("n1", 1.0, {ECC_DBE_VOLATILE: count}).tick(10.0))
    check(said, "uncorrectable_ecc", "", count, score)
    if count:
        assert reason(only(said), "uncorrectable_ecc").level == ("critical" if count < 3 else "evict")


@pytest.mark.parametrize(("pages", "score"), PAGES)
def test_retired_pages_of_both_kinds_add_up(pages: tuple[int, int], score: float) -> None:
    log = under(SPEC).frame("n1", 1.0, {RETIRED_SBE: pages[0], RETIRED_DBE: pages[1]}).tick(10.0)
    check(judge(log), "retired_pages", "", sum(pages), score)


def test_pcie_replays_are_shown_and_do_not_lower_the_score() -> None:
    log = under(SPEC).frame("n1", 1.0, {PCIE_REPLAY_COUNTER: 0}).frame("n1", 2.0, {PCIE_REPLAY_COUNTER: 500}).tick(10.0)
    score = only(judge(log))
    assert (score.score, score.condition) == (FINE, Condition.HEALTHY)
    assert (reason(score, "pcie_replay").level, reason(score, "pcie_replay").value) == ("critical", 500.0)


def test_the_score_is_the_minimum_over_all_signals() -> None:
    columns = {GPU_TEMP: 81, SM_CLOCK: 1500, RETIRED_SBE: 41}
    score = only(judge(under(SPEC).frame("n1", 1.0, columns).tick(10.0)))
    found = {reason.signal: (reason.level, reason.cap) for reason in score.reasons}
    assert found == {"temperature": ("warning", 0.7), "clocks": ("critical", 0.4), "retired_pages": ("critical", 0.3)}
    assert score.score == 0.3
    assert [reason.cap for reason in score.reasons] == [0.3, 0.4, 0.7]  # worst first


def test_there_is_no_hysteresis() -> None:
    log = under(SPEC).frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    for second, celsius in enumerate([95, 50, 86, 50]):
        log.frame("n1", 7.0 + second, {GPU_TEMP: celsius})
    assert [(c.score, c.held) for c in judge(log.tick(15.0)).conditions] == [
        (1.0, 1.0),
        (0.0, 0.0),
        (1.0, 1.0),
        (0.4, 0.4),
        (1.0, 1.0),
    ]


@pytest.mark.parametrize(
    ("score", "condition"),
    [
        (0.9, Condition.HEALTHY),
        (0.89, Condition.WARNING),
        (0.7, Condition.WARNING),
        (0.69, Condition.DEGRADED),
        (0.31, Condition.DEGRADED),
        (0.3, Condition.FAILED),
        (0.0, Condition.FAILED),
    ],
)
def test_bands(score: float, condition: Condition) -> None:
    caps = {"warning": score, "critical": 0.0, "evict": 0.0}
    log = under(spec(signals={"temperature": {"caps": caps}})).frame("n1", 1.0, {GPU_TEMP: 81}).tick(10.0)
    newest = only(judge(log))
    assert (newest.score, newest.condition) == (score, condition)
    assert Condition.of_score(score) is condition


# The steps that the specification's own sample code forgets; it has no NVLink rule at all.
QUIRKS: list[tuple[dict[int, float], float, float]] = [
    ({GPU_TEMP: 81}, 0.7, FINE),
    ({GPU_TEMP: 86}, 0.4, 0.4),
    ({GPU_TEMP: 91}, 0.0, 0.0),
    ({RETIRED_SBE: 11}, 0.7, FINE),
    ({RETIRED_SBE: 41}, 0.3, 0.3),
    ({SM_CLOCK: 1700}, 0.7, FINE),
    ({SM_CLOCK: 1500}, 0.4, FINE),
    ({SM_CLOCK: 1280}, 0.2, 0.2),
    ({ECC_DBE_VOLATILE: 1}, 0.1, 0.1),
    ({ECC_DBE_VOLATILE: 3}, 0.0, 0.1),
]


@pytest.mark.parametrize(("columns", "table", "sample_code"), QUIRKS)
def test_quirks_are_selectable(columns: dict[int, float], table: float, sample_code: float) -> None:
    for profile, score in (("spec", table), ("spec-quirks", sample_code)):
        log = under(load(profile)).frame("n1", 1.0, columns).tick(10.0)
        assert only(judge(log)).score == score, profile


def test_the_sample_code_knows_no_nvlink() -> None:
    log = under(load("spec-quirks")).frame("n1", 1.0, {NVLINK_CRC_FLIT_TOTAL: 0})
    assert only(judge(log.frame("n1", 2.0, {NVLINK_CRC_FLIT_TOTAL: 10**6}).tick(10.0))).score == FINE


# --- section 4: Xids ---------------------------------------------------------------------------------------------

# code, severity, response, score, action, what becomes of the GPU
XIDS: list[tuple[int, str, str, float, Action, CaseState]] = [
    (31, "critical", "evict", 0.0, Action.EVICT, CaseState.DRAINING),
    (43, "critical", "evict", 0.0, Action.EVICT, CaseState.DRAINING),
    (45, "high", "degrade", 0.7, Action.MONITOR, CaseState.IN_SERVICE),
    (48, "critical", "evict", 0.0, Action.EVICT, CaseState.DRAINING),
    (63, "medium", "lower_score", 0.7, Action.MONITOR, CaseState.IN_SERVICE),
    (64, "critical", "evict_permanently", 0.0, Action.EVICT_PERMANENTLY, CaseState.DRAINING),
    (79, "fatal", "remove_node", 0.0, Action.REMOVE_NODE, CaseState.DRAINING),
    (94, "low", "monitor", FINE, Action.NONE, CaseState.IN_SERVICE),
]
CRITICAL = [31, 43, 48, 64, 79]
WARNING = [45, 63, 94]


def faulty(code: int, policy: Policy = SPEC) -> Observations:
    """A GPU in good health, and then an Xid."""
    return under(policy).frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0).fault("n1", 7.0, code)


@pytest.mark.parametrize(("code", "severity", "response", "score", "action", "state"), XIDS)
def test_each_xid_is_answered_at_once(
    code: int, severity: str, response: str, score: float, action: Action, state: CaseState
) -> None:
    said = judge(faulty(code))
    (xid,) = said.xids
    assert (xid.code, xid.severity, xid.response, xid.uuid) == (code, severity, response, KEY)
    newest, change = only(said), said.conditions[-1]
    assert (newest.score, newest.condition, change.action) == (score, BANDS[score], action)
    decision = decide(said).decisions[-1]
    assert (decision.state, decision.action) == (state, action)
    assert decision.weight == (0.0 if score == 0.0 else score if score <= 0.7 else 1.0)
    if score < FINE:
        assert reason(newest, "xid").text.startswith(f"Xid {code}: ")
        assert reason(newest, "xid").value == code


def test_the_critical_ones_stay_and_the_others_end_after_an_hour() -> None:
    for code in CRITICAL + WARNING:
        log = faulty(code)
        for minute in range(1, 125):
            log.frame("n1", 60.0 * minute, {GPU_TEMP: 50})
        assert (only(judge(log)).score < FINE) == (code in CRITICAL), code


def test_the_second_double_bit_error_evicts_permanently() -> None:
    log = faulty(48).restore("n1", 20.0).fault("n1", 3000.0, 48)
    said = judge(log)
    assert [change.action for change in said.conditions][-2:] == [Action.NONE, Action.EVICT_PERMANENTLY]


@pytest.mark.parametrize("code", [13, 68, 119, 154, 12345])
def test_the_specification_is_silent_about_other_codes(code: int) -> None:
    said = judge(faulty(code))
    assert [xid.code for xid in said.xids] == [code]  # yet it stays visible
    assert only(said).score == FINE


def warned(codes: Sequence[int], over_s: float) -> Said:
    """These Xids of one GPU, the first and the last `over_s` apart."""
    log = under(SPEC).frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    for number, code in enumerate(codes):
        log.fault("n1", 7.0 + number * over_s / (len(codes) - 1), code)
    return judge(log)


@pytest.mark.parametrize("code", WARNING)
def test_more_than_ten_warnings_within_sixty_minutes_evict(code: int) -> None:
    ten, eleven = warned([code] * 10, 3500.0), warned([code] * 11, 3500.0)
    assert only(ten).score == (FINE if code == 94 else 0.7)
    assert (only(eleven).score, eleven.conditions[-1].action) == (0.0, Action.EVICT)
    why = reason(only(eleven), "xid_rate")
    assert why.value == 11
    assert why.text == "11 warning-class Xids (45, 63, 94) within 60 minutes (evict limit 10)"


def test_the_codes_count_together_and_others_do_not() -> None:
    assert only(warned([45, 63, 94] * 3 + [94, 94], 3500.0)).score == 0.0
    assert only(warned([45, 63, 94] * 3 + [94, 13], 3500.0)).score == 0.7


def test_lines_count_however_close_together() -> None:
    assert only(warned([94] * 11, 0.1)).score == 0.0


def test_eleven_over_more_than_an_hour_do_not_evict() -> None:
    assert only(warned([94] * 11, 3601.0)).score == FINE


def test_warnings_of_several_gpus_do_not_add_up() -> None:
    log = under(SPEC).frame("n1", 1.0, {GPU_TEMP: [50, 50]})
    for number in range(20):
        log.fault("n1", 2.0 + number, 94, of=number % 2)
    assert {score.score for score in judge(log.tick(30.0)).latest.values()} == {FINE}


# --- section 2: failure modes ------------------------------------------------------------------------------------

OK = {GPU_TEMP: 50, SM_CLOCK: 1980}


def correctable(log: Observations) -> None:
    log.frame("n1", 5.0, {ECC_SBE_VOLATILE: 0}).frame("n1", 6.0, {ECC_SBE_VOLATILE: 11})


def silence(log: Observations) -> None:
    log.ticks(6.0, 80.0)


def blanks(log: Observations) -> None:
    for second in range(2, 20):
        log.frame("n1", second, {GPU_TEMP: None, SM_CLOCK: None})


def vanished(log: Observations) -> None:
    log.frame("n1", 5.0, {GPU_TEMP: [50, 50]})
    for second in range(6, 90):
        log.frame("n1", second, {GPU_TEMP: [50]}, gpus=[gpu("n1", 1)])


# name, what happens, which signal sees it, how it reads, the condition
FAILURES: list[tuple[str, Any, str, str, Condition]] = [
    ("correctable errors", correctable, "correctable_ecc", "warning", Condition.WARNING),
    (
        "an uncorrectable error, counted",
        lambda log: log.frame("n1", 5.0, {ECC_DBE_VOLATILE: 1}),
        "uncorrectable_ecc",
        "critical",
        Condition.FAILED,
    ),
    ("an uncorrectable error, Xid 48", lambda log: log.fault("n1", 5.0, 48), "xid", "evict", Condition.FAILED),
    (
        "NVLink errors",
        lambda log: log.frame("n1", 5.0, {NVLINK_CRC_FLIT_TOTAL: 0}).frame("n1", 6.0, {NVLINK_CRC_FLIT_TOTAL: 20_000}),
        "nvlink_crc",
        "critical",
        Condition.FAILED,
    ),
    ("throttling", lambda log: log.frame("n1", 5.0, {SM_CLOCK: 1500}), "clocks", "critical", Condition.DEGRADED),
    ("a hang, Xid 31", lambda log: log.fault("n1", 5.0, 31), "xid", "evict", Condition.FAILED),
    ("a hang, Xid 79", lambda log: log.fault("n1", 5.0, 79), "xid", "evict", Condition.FAILED),
    (
        "fallen off the bus, without a number",
        lambda log: log.fault("n1", 5.0, None, fault="bus-loss"),
        "xid",
        "evict",
        Condition.FAILED,
    ),
    (
        "PCIe errors",
        lambda log: log.frame("n1", 5.0, {PCIE_REPLAY_COUNTER: 0}).frame("n1", 6.0, {PCIE_REPLAY_COUNTER: 32}),
        "pcie_replay",
        "warning",
        Condition.HEALTHY,  # seen; the score table does not know it
    ),
    ("complete failure: no heartbeat", silence, "presence", "evict", Condition.FAILED),
    ("complete failure: it alone is missing", vanished, "presence", "evict", Condition.FAILED),
    ("a driver that reads nothing any more", blanks, "blanks", "unknown", Condition.UNKNOWN),
]


@pytest.mark.parametrize(("what", "happens", "signal", "level", "condition"), FAILURES, ids=[f[0] for f in FAILURES])
def test_each_failure_mode_is_seen(what: str, happens: Any, signal: str, level: str, condition: Condition) -> None:
    log = under(SPEC).frame("n1", 1.0, OK)
    healthy = judge(log.records + Observations().tick(6.0).records)
    assert {score.condition for score in healthy.latest.values()} == {Condition.HEALTHY}
    happens(log)
    newest = judge(log.tick(100.0)).scores if signal == "presence" else judge(log.tick(25.0)).scores
    seen = [score for score in newest if score.uuid == KEY and score.condition == condition and score.reasons]
    assert reason(seen[-1], signal).level == level


# --- section 11: weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "weight"),
    [(1.0, 1.0), (0.71, 1.0), (0.7, 0.7), (0.69, 0.69), (0.5, 0.5), (0.31, 0.31), (0.3, 0.0), (0.29, 0.0), (0.0, 0.0)],
)
def test_the_weight_follows_the_score(score: float, weight: float) -> None:
    caps = {"warning": score, "critical": 0.0, "evict": 0.0}
    log = under(spec(signals={"temperature": {"caps": caps}})).frame("n1", 1.0, {GPU_TEMP: 81}).tick(10.0)
    decision = decide(judge(log)).decisions[-1]
    assert (decision.score, decision.weight) == (score, weight)
    assert decision.policy.startswith("test@")


def test_the_limit_of_weight_zero_is_policy() -> None:
    policy = spec(cluster={"weight_zero_at": 0.4})
    said = judge(under(policy).frame("n1", 1.0, {GPU_TEMP: 86}).tick(10.0))
    assert (said.conditions[-1].held, decide(said).decisions[-1].weight) == (0.4, 0.0)
