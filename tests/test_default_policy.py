"""The policy `default`: where it deviates from the specification, why, and that it does what it is for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.policies import describe, load
from processors.cluster_policy import WorkflowPolicy
from processors.policy import from_document
from processors.testing import Observations, Said, decide, gpu, judge, ms
from schemas import records, topics
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    ECC_DBE_VOLATILE,
    GPU_TEMP,
    GPU_TEMP_MARGIN,
    PCIE_REPLAY_COUNTER,
    POWER,
    POWER_LIMIT,
    REMAPPED_UNCORRECTABLE,
    ROW_REMAP_FAILURE,
    ROW_REMAP_PENDING,
    SM_CLOCK,
)
from schemas.records import Score
from schemas.states import Action, Condition

# key: (default, spec, a word of the reason). A new deviation belongs here, with its reason in default.toml.
DEVIATIONS: dict[str, tuple[Any, Any, str]] = {
    "node.improve_after_s": (300.0, 0.0, "chase"),
    "node.coalesce_s": (5.0, 0.0, "one event"),
    "prediction.model": ("default", "spec", "rising rate"),
    "prediction.hours_step_share": (0.25, 0.0, "tickets"),
    "prediction.confidence_step": (0.1, 0.0, "tickets"),
    "signals.clocks.judge_by": ("event_reasons", "deficit", "partly idle"),
    "signals.clocks.limits.warning": (10.0, 5.0, "under load"),
    "signals.clocks.limits.critical": (50.0, 15.0, "under load"),
    "signals.clocks.limits.evict": (None, 30.0, "under load"),
    "signals.temperature.also_with_margin": (False, True, "own margin"),
    "signals.temperature_margin.enabled": (True, False, "every product"),
    "signals.uncorrectable_ecc.latch": (True, False, "repairs nothing"),
    "signals.xid.catalog": ("default", "spec", "the rest"),
    "signals.xid.shared_gpus": (2, 0, "the job's fault"),
    "signals.xid.repeat_days": (30.0, 36_500.0, "within 30 days"),
    "signals.pcie_replay.caps.warning": (0.7, 1.0, "throughput"),
    "signals.pcie_replay.caps.critical": (0.4, 1.0, "throughput"),
    "signals.pcie_replay.caps.evict": (0.0, 1.0, "throughput"),
    "signals.row_remap.enabled": (True, False, "replacement"),
    "signals.remapped_rows.enabled": (True, False, "512"),
    "signals.power_brake.enabled": (True, False, "rack"),
    "signals.memory_temperature.enabled": (True, False, "95 C"),
    "signals.thermal_violation.enabled": (True, False, "miss"),
    "signals.pcie_link.enabled": (True, False, "reseated"),
    "signals.nvlink_burst.enabled": (True, False, "100 CRC"),
    "signals.nvlink_replay.enabled": (True, False, "one within"),
    "signals.nvlink_recovery.enabled": (True, False, "one recovery"),
    "signals.nvlink_unrecovered.enabled": (True, False, "until a reset"),
    "signals.nvlink_links.enabled": (True, False, "section 8"),
    "signals.nvlink_worst.enabled": (True, False, "peer"),
    "signals.fabric.enabled": (True, False, "CUDA"),
    "signals.recovery_action.enabled": (True, False, "kernel log"),
    "node.repeat_days": (30.0, 0.0, "third try"),
    "cluster.workflow.no_reset": (WorkflowPolicy().no_reset, (), "cools nothing"),
    "signals.uncorrectable_ecc.with_aggregate": (True, False, "driver reload"),
    "signals.remap_banks.enabled": (True, False, "order the replacement"),
    "signals.memory_replacement.enabled": (True, False, "RMA"),
    **{
        f"signals.{signal}.caps.{step}": (cap, 1.0, word)
        for signal, word in (
            ("retirement_pending", "until a reset"),
            ("dcgm_health", "no counter"),
            ("dcgm_policy", "only DCGM's engine"),
            ("diagnostic", "not fit"),
        )
        for step, cap in (("warning", 0.7), ("critical", 0.3), ("evict", 0.0))
    },
}


def test_each_deviation_from_the_specification_is_listed_with_its_reason() -> None:
    found = {row.key: row for row in describe(load("default")) if row.value != row.spec}
    assert {key: (row.value, row.spec) for key, row in found.items()} == {
        key: (value, spec) for key, (value, spec, _) in DEVIATIONS.items()
    }
    for key, (_, _, word) in DEVIATIONS.items():
        assert word in found[key].reason, f"{key}: {found[key].reason}"


def test_the_built_in_values_are_the_default() -> None:
    """Without any policy record it is in force."""
    log = Observations().frame("n1", 1.0, {GPU_TEMP_MARGIN: 5}).tick(10.0)
    with_record = judge(Observations().policy(0.0, load("default")).records + log.records)
    assert judge(log).scores == with_record.scores
    assert only(judge(log)).score == 0.7


def only(said: Said) -> Score:
    (score,) = said.latest.values()
    return score


def seconds(
    columns: dict[int, Any], count: int = 120, start_s: int = 1, log: Observations | None = None
) -> Observations:
    """The same sample each second."""
    log = log or Observations()
    for second in range(start_s, start_s + count):
        log.frame("n1", second, columns)
    return log


# --- clocks ------------------------------------------------------------------------------------------------------

LOAD = {POWER: 690.0, POWER_LIMIT: 700.0, SM_CLOCK: 1980.0}
SLOW = {POWER: 690.0, POWER_LIMIT: 700.0, SM_CLOCK: 900.0}


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        ("idle", {CLOCK_EVENT_REASONS: 0x1, POWER: 70.0, POWER_LIMIT: 700.0, SM_CLOCK: 345.0}),
        ("idle, slowing down", {CLOCK_EVENT_REASONS: 0x1 | 0x20 | 0x80, POWER: 70.0, POWER_LIMIT: 700.0}),
        ("application clocks", {**SLOW, CLOCK_EVENT_REASONS: 0x2}),
        ("power-capped", {**SLOW, CLOCK_EVENT_REASONS: 0x4}),
        ("hardware slowdown at a change of state", {**SLOW, CLOCK_EVENT_REASONS: 0x8}),
        ("sync boost", {**SLOW, CLOCK_EVENT_REASONS: 0x10}),
        ("hardly any load", {CLOCK_EVENT_REASONS: 0x20, POWER: 209.0, POWER_LIMIT: 700.0}),
        ("slow, and does not say why", SLOW),
    ],
)
def test_a_gpu_that_is_slow_for_a_good_reason_is_not_sick(what: str, columns: dict[int, float]) -> None:
    assert {score.condition for score in judge(seconds(columns)).scores} == {Condition.HEALTHY}


@pytest.mark.parametrize("bit", [0x20, 0x40, 0x80])
def test_throttling_under_load_is_critical_within_two_minutes(bit: int) -> None:
    said = judge(seconds({**LOAD, CLOCK_EVENT_REASONS: bit | 0x4}))
    levels = [score.reasons[0].level for score in said.scores if score.reasons]
    assert levels == ["warning", "critical"]
    assert (only(said).score, only(said).condition) == (0.4, Condition.DEGRADED)


def test_where_power_is_unknown_the_idle_bit_alone_tells() -> None:
    assert only(judge(seconds({CLOCK_EVENT_REASONS: 0x20}))).condition is Condition.DEGRADED
    assert only(judge(seconds({CLOCK_EVENT_REASONS: 0x21}))).condition is Condition.HEALTHY
    at_limit = {CLOCK_EVENT_REASONS: 0x20, POWER: 210.0, POWER_LIMIT: 700.0}  # 30 % is load
    assert only(judge(seconds(at_limit))).condition is Condition.DEGRADED


def test_time_without_load_neither_mends_nor_harms() -> None:
    log = seconds({**LOAD, CLOCK_EVENT_REASONS: 0x40})
    seconds({CLOCK_EVENT_REASONS: 0x1, POWER: 70.0, POWER_LIMIT: 700.0}, count=600, start_s=121, log=log)
    assert only(judge(log)).score == 0.4
    seconds({**LOAD, CLOCK_EVENT_REASONS: 0x0}, count=900, start_s=721, log=log)
    assert only(judge(log)).held == 1.0


# --- temperature -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "score"),
    [
        ({GPU_TEMP: 88.0, GPU_TEMP_MARGIN: 6.0}, 1.0),
        ({GPU_TEMP: 60.0, GPU_TEMP_MARGIN: 5.0}, 0.7),
        ({GPU_TEMP: 60.0, GPU_TEMP_MARGIN: 1.0}, 0.7),
        ({GPU_TEMP: 60.0, GPU_TEMP_MARGIN: 0.0}, 0.4),
        ({GPU_TEMP: 60.0, GPU_TEMP_MARGIN: -3.0}, 0.4),
        ({GPU_TEMP: 88.0, GPU_TEMP_MARGIN: None}, 0.4),
        ({GPU_TEMP: 88.0}, 0.4),
        ({GPU_TEMP: 80.0}, 1.0),
        ({GPU_TEMP: 91.0}, 0.0),
    ],
)
def test_the_margin_comes_before_the_absolute_temperature(columns: dict[int, Any], score: float) -> None:
    assert only(judge(Observations().frame("n1", 1.0, columns).tick(10.0))).score == score


# --- hysteresis --------------------------------------------------------------------------------------------------


def held(*temperatures: tuple[float, float | None]) -> list[tuple[int, float, str]]:
    """Seconds, held score and condition at each change, of a GPU that is this warm from these seconds on."""
    log = Observations()
    second = 1
    ends = [at for at, _ in temperatures[1:]] + [temperatures[-1][0] + 700]
    for (_, celsius), end in zip(temperatures, ends, strict=True):
        while second < end:
            log.frame("n1", second, {GPU_TEMP: celsius})
            second += 1
    changes = []
    for change in judge(log).conditions:
        new = ((change.ts - 1_767_225_600_000) // 1000, change.held, change.condition.value)
        if not changes or changes[-1][1:] != new[1:]:
            changes.append(new)
    return changes


def test_worse_at_once_and_better_after_three_hundred_seconds() -> None:
    assert held((1, 50), (20, 86), (30, 50)) == [(5, 1.0, "healthy"), (20, 0.4, "degraded"), (330, 1.0, "healthy")]


def test_a_relapse_starts_the_wait_again() -> None:
    assert held((1, 50), (20, 86), (30, 50), (200, 86), (201, 50))[-1] == (505, 1.0, "healthy")


def test_it_improves_to_the_worst_of_the_time_of_waiting() -> None:
    """Cool for a second at the end of the wait: the warning before it still counts."""
    changes = held((1, 50), (20, 91), (30, 81), (325, 50))
    assert changes == [
        (5, 1.0, "healthy"),
        (20, 0.0, "failed"),
        (330, 0.7, "warning"),
        (630, 1.0, "healthy"),
    ]


def test_unknown_does_not_count_as_better() -> None:
    """The wait starts again behind it, and the weight stays what it was."""
    changes = held((1, 50), (20, 86), (30, 50), (100, None), (150, 50))
    assert [(held, condition) for _, held, condition in changes] == [
        (1.0, "healthy"),
        (0.4, "degraded"),
        (0.4, "unknown"),
        (0.4, "degraded"),
        (1.0, "healthy"),
    ]
    assert changes[-1][0] >= 150 + 300


# --- Xids --------------------------------------------------------------------------------------------------------


def with_xids(*faults: tuple[float, int], minutes: int = 0, **more: Any) -> Observations:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    for at_s, code in faults:
        log.fault("n1", at_s, code, **more)
    for minute in range(1, minutes + 1):
        log.frame("n1", 60.0 * minute, {GPU_TEMP: 50})
    return log


@pytest.mark.parametrize("code", [45, 63])
def test_some_xids_cap_the_score_for_an_hour(code: int) -> None:
    assert only(judge(with_xids((7.0, code), minutes=59))).score == 0.7
    said = judge(with_xids((7.0, code), minutes=70))
    assert (only(said).score, only(said).condition) == (1.0, Condition.HEALTHY)
    assert min(change.held for change in said.conditions) == 0.7


def test_the_reason_names_the_xid_that_still_counts() -> None:
    log = with_xids((7.0, 45), (3000.0, 63))
    assert [reason.value for reason in only(judge(log)).reasons] == [45]
    for minute in range(51, 70):
        log.frame("n1", 60.0 * minute, {GPU_TEMP: 50})
    assert [reason.text[:6] for reason in only(judge(log)).reasons] == ["Xid 63"]


@pytest.mark.parametrize("code", [31, 43, 48, 64, 79, 95, 119])
def test_critical_xids_stay_until_an_operator_restores_the_gpu(code: int) -> None:
    log = with_xids((7.0, code), minutes=150)
    assert only(judge(log)).condition is Condition.FAILED
    log.restore("n1", 9001.0).frame("n1", 9002.0, {GPU_TEMP: 50}).tick(9010.0)
    assert (only(judge(log)).score, only(judge(log)).held) == (1.0, 1.0)


def test_corruption_is_told_and_no_budget_holds_it() -> None:
    (change,) = [change for change in judge(with_xids((7.0, 48))).conditions if change.score == 0.0]
    assert (change.action, change.corruption, change.hard) == (Action.EVICT, True, True)


@pytest.mark.parametrize("codes", [(48, 64), (64, 48)])
def test_of_several_xids_the_gravest_response_counts_and_corruption_stays_told(codes: tuple[int, int]) -> None:
    said = judge(with_xids((7.0, codes[0]), (20.0, codes[1])))
    change = said.conditions[-1]
    assert (change.action, change.corruption) == (Action.EVICT_PERMANENTLY, True)
    assert change.reasons[0].value == 64


def test_identical_xids_within_five_seconds_are_one() -> None:
    said = judge(with_xids((7.0, 45), (9.0, 45), (11.9, 45), (12.0, 45), (12.1, 63)).tick(80.0))
    assert [(xid.code, xid.repeat, xid.repeats) for xid in said.xids] == [(45, False, 0), (63, False, 0), (45, True, 2)]
    log = with_xids(*[(7.0 + 0.4 * number, 94) for number in range(100)])  # 40 s: 8 events
    assert only(judge(log)).score == 1.0
    assert only(judge(Observations().policy(0.0, load("spec")).records + log.records)).score == 0.0  # counts lines


def test_lines_may_coalesce_over_minutes() -> None:
    policy = from_document("x", {"node": {"coalesce_s": 600.0}})
    log = Observations().policy(0.0, policy).fault("n1", 1.0, 94).ticks(10.0, 590.0, 10.0).fault("n1", 600.0, 94)
    said = judge(log.fault("n1", 601.0, 94).tick(661.0))
    assert [(xid.ts, xid.repeat, xid.repeats) for xid in said.xids] == [(ms(1.0), False, 0), (ms(601.0), True, 1)]


def test_a_report_of_the_same_fault_by_another_source_is_dropped() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    log.fault("n1", 7.0, 48, source="kmsg").fault("n1", 9.0, 48, source="dcgm").fault("n1", 9.1, 48, source="dcgm")
    said = judge(log.tick(20.0).tick(80.0))
    assert [(xid.ts % 100_000, xid.repeat) for xid in said.xids] == [(7000, False), (9100, True)]
    assert said.counts["double_reports"] == 1


def recovery(action: int, at_s: float, log: Observations) -> Observations:
    return log.fault("n1", at_s, 154, recovery_action=action)


@pytest.mark.parametrize(
    ("named", "score", "action"),
    [
        (1, 0.0, Action.EVICT),
        (2, 0.0, Action.REMOVE_NODE),
        (3, 0.0, Action.EVICT),
        (4, 0.0, Action.EVICT),
        (5, 0.7, Action.MONITOR),
        (6, 0.0, Action.EVICT),
        (7, 0.0, Action.REMOVE_NODE),
        (8, 0.7, Action.MONITOR),  # nobody has told us what that is
        (300, 0.7, Action.MONITOR),
        (-1, 0.7, Action.MONITOR),
    ],
)
def test_xid_154_asks_for_what_its_text_says_and_takes_it_back(named: int, score: float, action: Action) -> None:
    log = recovery(named, 7.0, with_xids())
    change = judge(log).conditions[-1]
    assert (change.score, change.action) == (score, action)
    recovery(0, 20.0, log)
    assert only(judge(log)).score == 1.0


def test_what_the_driver_takes_back_is_only_its_own_demand() -> None:
    log = recovery(0, 30.0, recovery(2, 20.0, with_xids((7.0, 31))))
    said = judge(log)
    assert [change.action for change in said.conditions] == [
        Action.NONE,
        Action.EVICT,
        Action.REMOVE_NODE,
        Action.EVICT,
    ]
    assert only(said).reasons[0].value == 31


def test_an_unknown_xid_is_kept_and_takes_nobody_out() -> None:
    said = judge(with_xids((7.0, 12_345)))
    (xid,) = said.xids
    assert (xid.code, xid.severity, xid.response) == (12_345, "unknown", "monitor")
    assert only(said).score == 1.0


def test_a_fatal_nvlink_error_is_graver_than_its_code() -> None:
    assert only(judge(with_xids((7.0, 145)))).score == 0.7
    fatal = with_xids((7.0, 145), message="RLW Fatal XC0 i0 Link 03 (0x1 0x2)")
    assert only(judge(fatal)).score == 0.0


# --- errors ------------------------------------------------------------------------------------------------------


def test_uncorrectable_errors_stay_told_when_the_counter_restarts() -> None:
    log = seconds({ECC_DBE_VOLATILE: 2, GPU_TEMP: 50}, count=10)
    seconds({ECC_DBE_VOLATILE: 0, GPU_TEMP: 50}, count=700, start_s=11, log=log)
    assert (only(judge(log)).score, only(judge(log)).reasons[0].value) == (0.1, 2.0)
    seconds({ECC_DBE_VOLATILE: 1, GPU_TEMP: 50}, count=10, start_s=711, log=log)
    assert (only(judge(log)).score, only(judge(log)).reasons[0].value) == (0.0, 3.0)
    under_spec = judge(Observations().policy(0.0, load("spec")).records + log.records)
    assert only(under_spec).score == 0.1


def test_an_operator_ends_the_count_of_uncorrectable_errors() -> None:
    log = seconds({ECC_DBE_VOLATILE: 2}, count=10).restore("n1", 11.0)
    assert only(judge(log)).score == 1.0
    assert only(judge(seconds({ECC_DBE_VOLATILE: 2}, 10, 12, log))).score == 1.0
    assert only(judge(seconds({ECC_DBE_VOLATILE: 3}, 10, 22, log))).score == 0.1


@pytest.mark.parametrize(
    ("columns", "score", "action"),
    [
        ({ROW_REMAP_PENDING: 1, ROW_REMAP_FAILURE: 0}, 0.7, Action.MONITOR),
        ({ROW_REMAP_PENDING: 0, ROW_REMAP_FAILURE: 1}, 0.0, Action.EVICT_PERMANENTLY),
        ({ROW_REMAP_PENDING: 0, ROW_REMAP_FAILURE: 0}, 1.0, Action.NONE),
        ({REMAPPED_UNCORRECTABLE: 511}, 1.0, Action.NONE),
        ({REMAPPED_UNCORRECTABLE: 512}, 0.7, Action.MONITOR),
    ],
)
def test_row_remaps(columns: dict[int, Any], score: float, action: Action) -> None:
    change = judge(Observations().frame("n1", 1.0, columns).tick(10.0)).conditions[-1]
    assert (change.score, change.action) == (score, action)


@pytest.mark.parametrize(("replays", "score"), [(31, 1.0), (32, 0.7), (310, 0.7), (311, 0.4)])
def test_pcie_replays_within_a_minute(replays: int, score: float) -> None:
    log = Observations().frame("n1", 1.0, {PCIE_REPLAY_COUNTER: 5})
    log.frame("n1", 30.0, {PCIE_REPLAY_COUNTER: 5 + replays // 2}).frame("n1", 50.0, {PCIE_REPLAY_COUNTER: 5 + replays})
    assert only(judge(log.tick(60.0))).score == score


# --- policies that change ----------------------------------------------------------------------------------------


def test_a_new_policy_judges_facts_anew() -> None:
    """The last is that under which nobody would have kept Xid 119: it is a fact all the same."""
    log = Observations().policy(0.0, load("spec")).frame("n1", 1.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}).tick(6.0)
    log.fault("n1", 7.0, 119)
    said = judge(log)
    assert (only(said).score, [why.signal for why in only(said).reasons]) == (0.1, ["uncorrectable_ecc"])
    log.frame("n1", 8.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 0}).tick(15.0)
    assert only(judge(log)).score == 1.0
    log.policy(5000.0, load("default"))
    said = judge(log)
    assert {why.signal for why in only(said).reasons} >= {"uncorrectable_ecc", "xid"}
    assert only(said).score == 0.0
    log.frame("n1", 5001.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 0}).tick(5010.0).policy(5011.0, load("spec"))
    assert (only(judge(log)).score, only(judge(log)).held) == (1.0, 1.0)


def test_a_signal_that_is_switched_off_lets_go_at_once() -> None:
    log = seconds({GPU_TEMP_MARGIN: -1, GPU_TEMP: 50}, count=10)
    assert only(judge(log)).score == 0.4
    newest = only(judge(log.policy(10.5, load("spec"))))
    assert (newest.score, newest.held, newest.reasons) == (1.0, 1.0, [])


def test_a_decision_names_the_policy_that_made_it() -> None:
    log = seconds({GPU_TEMP: 86}, count=10).policy(10.5, load("spec")).frame("n1", 11.0, {GPU_TEMP: 91})
    names = [decision.policy.partition("@")[0] for decision in decide(judge(log)).decisions]
    assert (names[0], names[-1]) == ("default", "spec")


def test_a_policy_record_that_is_wrong_changes_nothing() -> None:
    wrong = records.PolicyChange(ts=0, id="wrong", document={"signals": {"temperature": {"limit": {}}}})
    log = seconds({GPU_TEMP: 86}, count=10).add(10.5, "", "policy", records.encode(wrong))
    said = judge(seconds({GPU_TEMP: 86}, count=10, start_s=11, log=log))
    (letter,) = said.dead_letters
    assert "`$.signals.temperature`" in letter.why
    assert not [output for output in said.outputs if output.topic == topics.FLEET_EVENTS and output.kind == "policy"]
    assert only(said).score == 0.4


def test_the_identity_of_gpus_is_kept_in_all_this() -> None:
    log = with_xids((7.0, 45))
    assert {(score.uuid, score.bdf) for score in judge(log).scores} == {(gpu("n1").uuid, gpu("n1").bdf)}
    assert msgspec.json.decode(records.encode(only(judge(log))), type=Score) == only(judge(log))


def test_a_gpu_that_is_held_below_its_score_says_why() -> None:
    log = Observations()
    for second in range(1, 40):
        log.frame("n1", float(second), {GPU_TEMP: 95 if second < 10 else 50})
    last = judge(log.tick(45.0)).scores[-1]
    assert (last.score, last.held, [reason.signal for reason in last.reasons]) == (1.0, 0.0, ["recovering"])
    assert last.reasons[0].text == "better, but not yet for 300 s: counts as 0 until then"
