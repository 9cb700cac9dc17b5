"""What a report counts, from records as the stages write them."""

from __future__ import annotations

import msgspec
import pytest

from schemas.states import Action, CaseState, Condition, Step
from sinks.report import text
from sinks.report.window import DAY_MS, HOUR_MS, Window
from tests.sinks.report.fleets import START, WEEK, Told, reason

HEALTHY, WARNING, DEGRADED, FAILED, UNKNOWN = Condition
MINUTE_MS = 60_000


def counts(told: Told) -> dict[str, int]:
    return {mode.mode: mode.count for mode in told.report().modes if mode.count}


# --- scores ------------------------------------------------------------------------------------------------


def test_a_typical_week_is_told_as_that() -> None:
    """The specification's shares, as 1,000 GPUs that spend them: 942, 38, 15 and 5 of them."""
    told = Told()
    shares = [(HEALTHY, 942), (WARNING, 38), (DEGRADED, 15), (FAILED, 5)]
    gpus = iter(f"GPU-{number}" for number in range(1000))
    for condition, count in shares:
        for gpu in [next(gpus) for _ in range(count)]:
            told.score(gpu, START - 5, condition)
    report = told.report()
    bands = {band.condition: band for band in report.bands}
    assert [(name, band.band, band.typical) for name, band in bands.items()] == [
        ("healthy", "0.9-1.0", 0.942),
        ("warning", "0.7-0.9", 0.038),
        ("degraded", "0.3-0.7", 0.015),
        ("failed", "0.0-0.3", 0.005),
        ("unknown", "", None),
    ]
    for name, band in bands.items():
        assert band.share == pytest.approx(band.typical or 0.0), name
    assert sum(band.hours for band in report.bands) == pytest.approx(1000 * 7 * 24)
    assert (report.fleet.gpus, report.fleet.nodes, report.fleet.gpu_days) == (1000, 1, pytest.approx(7000))


def test_shares_are_of_time_not_of_records() -> None:
    told = Told()
    told.score("GPU-1", START, HEALTHY)
    for minute in range(60):  # flaps for an hour of the week
        told.score("GPU-1", START + DAY_MS + minute * MINUTE_MS, FAILED if minute % 2 == 0 else HEALTHY)
    bands = {band.condition: band for band in told.report().bands}
    assert bands["failed"].hours == pytest.approx(0.5)
    assert bands["healthy"].share == pytest.approx(1 - 0.5 / 168)
    assert bands["healthy"].now == 1


def test_what_is_newer_than_the_window_is_left_out() -> None:
    told = Told()
    told.score("GPU-1", START, HEALTHY)
    told.score("GPU-1", WEEK.end, FAILED)
    bands = {band.condition: band for band in told.report().bands}
    assert (bands["failed"].hours, bands["healthy"].now) == (0.0, 1)


def test_a_gpu_that_was_renamed_is_one_gpu() -> None:
    told = Told()
    told.say("scores", "n1/0000:01:00", b'{"node":"n1","bdf":"0000:01:00","condition":"healthy"}', START)
    told.score("GPU-1", START + 1, HEALTHY)
    told.say("scores", "n1/0000:01:00", None, START + 1)
    assert told.report().fleet.gpus == 1


# --- failure modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "level", "mode"),
    [
        ("correctable_ecc", "warning", "correctable ECC above threshold"),
        ("uncorrectable_ecc", "critical", "uncorrectable ECC"),
        ("nvlink_crc", "warning", "NVLink CRC errors"),
        ("clocks", "warning", "thermal throttling"),
        ("pcie_replay", "warning", "PCIe errors"),
        ("presence", "evict", "complete failure"),
    ],
)
def test_each_mode_is_counted_by_what_detects_it(signal: str, level: str, mode: str) -> None:
    told = Told()
    told.score("GPU-1", START, HEALTHY)
    told.score("GPU-1", START + 1000, WARNING, reason(signal, level))
    assert counts(told) == {mode: 1}


def test_silence_that_may_still_end_is_no_complete_failure() -> None:
    told = Told()
    told.score("GPU-1", START + 1000, UNKNOWN, reason("presence", "unknown"))
    assert counts(told) == {}


def test_an_episode_counts_once_and_a_new_one_again() -> None:
    told = Told()
    ecc = reason("correctable_ecc")
    told.score("GPU-1", START, WARNING, ecc)
    told.score("GPU-1", START + 5 * HOUR_MS, FAILED, ecc)  # still the same one, only worse
    told.score("GPU-1", START + 6 * HOUR_MS, HEALTHY)
    told.score("GPU-1", START + 6 * HOUR_MS + 30 * MINUTE_MS, WARNING, ecc)  # back within an hour
    told.score("GPU-1", START + 7 * HOUR_MS, HEALTHY)
    assert counts(told) == {"correctable ECC above threshold": 1}
    told.score("GPU-1", START + 9 * HOUR_MS, WARNING, ecc)
    told.score("GPU-2", START + 9 * HOUR_MS, WARNING, ecc)
    assert {mode.mode: mode.count for mode in told.report().modes}["correctable ECC above threshold"] == 3


def test_a_double_bit_error_is_one_whichever_way_it_is_told() -> None:
    told = Told()
    told.xid("GPU-1", START + 1000, 48)
    told.xid("GPU-1", START + 2000, 48, repeat=True)
    told.score("GPU-1", START + 1000, FAILED, reason("uncorrectable_ecc", "critical"))
    assert counts(told) == {"uncorrectable ECC": 1}


def test_the_silence_behind_an_xid_79_is_that_hang() -> None:
    told = Told()
    told.xid("GPU-1", START + 1000, 79)
    told.xid("GPU-2", START + 1000, 31)
    told.score("GPU-1", START + 70_000, FAILED, reason("presence", "evict"))
    assert counts(told) == {"hang (Xid 31, 79)": 2}


def test_a_node_that_falls_silent_is_one_complete_failure() -> None:
    told = Told()
    for number in range(8):
        told.score(f"GPU-{number}", START + number, FAILED, reason("presence", "evict"))
    told.score("GPU-9", START, FAILED, reason("presence", "evict"), node="n2")
    assert counts(told) == {"complete failure": 2}


def test_expected_numbers_are_the_specified_ones_for_this_fleet_and_window() -> None:
    told = Told(Window(START, START + 365 * DAY_MS))
    for number in range(500):
        told.score(f"GPU-{number}", START, HEALTHY)
    modes = {mode.mode: mode for mode in told.report().modes}
    assert modes["thermal throttling"].expected == pytest.approx(365 / 2)  # daily for 1,000
    assert modes["correctable ECC above threshold"].expected == pytest.approx(52.1 / 2, rel=0.01)
    assert modes["hang (Xid 31, 79)"].expected == pytest.approx(6, rel=0.01)
    assert modes["complete failure"].expected == pytest.approx(2, rel=0.01)
    assert (modes["hang (Xid 31, 79)"].low, modes["hang (Xid 31, 79)"].high) == (2, 11)
    assert modes["hang (Xid 31, 79)"].verdict == "fewer than usual"  # there was none
    assert modes["complete failure"].verdict == "usual"
    assert modes["PCIe errors"].expected is None  # "rare" is no number


# --- alerts ------------------------------------------------------------------------------------------------


def test_alerts_are_cases_that_need_a_person_and_predictions_that_order_something() -> None:
    told = Told()
    for number in range(100):
        told.score(f"GPU-{number}", START, HEALTHY)
    told.case("GPU-1", START + 1000, "xid_48")
    told.case("GPU-1", START + 1000, "xid_48", state=CaseState.DRAINED)  # the same case, further on
    told.case("GPU-2", START + 2000, "xid_31")
    told.case("GPU-3", START + 3000, "node_removed")
    told.case("GPU-4", START - 1, "xid_48")  # opened before the window
    told.case("GPU-5", START + 5000, "xid_31")
    told.case("GPU-5", START + 5000, "xid_31", action=Action.EVICT_PERMANENTLY)  # it got worse: now somebody must come
    for action, ms in (("monitor", 1), ("evict-now", 2), ("evict-now", 3)):
        told.say(
            "predictions", "GPU-6",
            msgspec.json.encode({"node": "n1", "action": action, "text": "fails in 3 h"}), START + DAY_MS + ms,
        )  # fmt: skip
    alerts = told.report().alerts
    assert [(alert.kind, alert.gpu, alert.cause) for alert in alerts.listed] == [
        ("case", "GPU-1", "xid_48 it was"),
        ("case", "GPU-5", "xid_31 it was"),
        ("prediction", "GPU-6", "fails in 3 h"),
    ]
    assert alerts.automatic == {"node_removed": 1, "xid_31": 1}
    assert alerts.per_day == pytest.approx(3 / 0.7)  # 100 GPUs for 7 days are 0.7 days of 1,000
    assert alerts.by_day[:3] == [("2026-01-01", 2), ("2026-01-02", 1), ("2026-01-03", 0)]
    assert len(alerts.by_day) == 7


def test_an_alert_says_how_far_the_workflow_has_come_and_what_mends_itself_is_none() -> None:
    told = Told()
    told.case("GPU-1", START + 1000, "xid_119", step=Step.RESETTING)
    told.case("GPU-1", START + 1000, "xid_119", step=Step.IN_SERVICE, state=CaseState.IN_SERVICE)
    told.case("GPU-2", START + 2000, "xid_119", step=Step.RESETTING)
    told.case("GPU-2", START + 2000, "xid_119", step=Step.QUARANTINED, waits="an operator")
    report = told.report()
    assert [(alert.gpu, alert.step, alert.waits) for alert in report.alerts.listed] == [
        ("GPU-2", "quarantined", "an operator")
    ]
    assert report.alerts.automatic == {"xid_119": 1}
    assert "xid_119 it was [quarantined, waits: an operator]" in text.render(report)


def test_cases_of_one_moment_on_one_node_are_one_alert() -> None:
    told = Told()
    for number in range(8):
        told.case(f"GPU-{number}", START + 1000, "presence")
    told.case("GPU-9", START + 1000, "presence", node="n2")
    assert [(alert.node, alert.gpus) for alert in told.report().alerts.listed] == [("n1", 8), ("n2", 1)]


# --- capacity ----------------------------------------------------------------------------------------------


def test_lost_capacity_is_weight_over_time() -> None:
    told = Told(Window(START, START + 10 * HOUR_MS))
    told.decision("GPU-1", START, 1.0)
    told.decision("GPU-1", START + 2 * HOUR_MS, 0.4, cause="clocks")
    told.decision("GPU-1", START + 7 * HOUR_MS, 0.0, cause="Xid 48")
    told.decision("GPU-2", START - HOUR_MS, 1.0, node="n2")
    report = told.report()
    assert report.capacity.gpu_hours == pytest.approx(20)
    assert report.capacity.out_hours == pytest.approx(3)
    assert report.capacity.lost_hours == pytest.approx(0.6 * 5 + 3)
    assert [(worst.name, worst.cause) for worst in report.worst_gpus] == [("GPU-1", "Xid 48")]
    assert [(worst.name, worst.lost_hours) for worst in report.worst_nodes] == [("n1", pytest.approx(6))]


def test_held_removals_are_listed_with_when_they_were_let_go() -> None:
    told = Told()
    told.decision("GPU-1", START + 1000, 0.7, held_by="budget", cause="clocks")
    told.decision("GPU-1", START + 2000, 0.0)
    told.decision("GPU-2", START + 3000, 0.7, held_by="storm", cause="heat")
    held = told.report().held
    assert [(each.gpu, each.held_by, each.ts - START, each.until and each.until - START) for each in held] == [
        ("GPU-1", "budget", 1000, 2000),
        ("GPU-2", "storm", 3000, 0),
    ]


# --- the rest ----------------------------------------------------------------------------------------------


def test_xids_count_events_lines_and_gpus() -> None:
    told = Told()
    for number in range(3):
        told.xid("GPU-1", START + number, 31, repeat=number > 0)
    told.xid("GPU-2", START, 31)
    told.xid("GPU-2", START, 48)
    told.xid("GPU-2", START - 1, 48)  # before the window
    shown = [(xid.name, xid.events, xid.lines, xid.gpus) for xid in told.report().xids]
    assert shown == [("Xid 31", 2, 4, 2), ("Xid 48", 1, 1, 1)]


def test_incidents_by_family_with_the_time_to_resolve() -> None:
    told = Told()
    base = {"node": "n1", "root": "xid_48", "text": "t", "family": "memory", "state": "open"}
    incidents = [
        {"id": "a", "opened": START},
        {"id": "a", "opened": START, "state": "resolved", "resolved": START + 2 * HOUR_MS},
        {"id": "b", "opened": START, "state": "resolved", "resolved": START + 4 * HOUR_MS},
        {"id": "c", "opened": START - 1},
        {"id": "d", "opened": START, "into": "a"},  # it was a part of a
    ]
    for incident in incidents:
        told.say("incidents", str(incident["id"]), msgspec.json.encode(base | incident), START + 5 * HOUR_MS)
    (family,) = told.report().incidents
    assert (family.family, family.opened, family.open, family.resolved) == ("memory", 2, 1, 2)
    assert family.hours_to_resolve == pytest.approx(3.0)


def test_an_empty_window_reports_nothing_and_says_so() -> None:
    report = Told().report()
    assert report.fleet.gpus == 0
    assert report.alerts.per_day is None
    assert {mode.verdict for mode in report.modes} == {"no GPU was seen", "the specification names no number"}


def test_a_record_that_cannot_be_read_is_a_note_and_no_more() -> None:
    told = Told()
    told.say("scores", "GPU-1", b"{", START)
    told.score("GPU-2", START, HEALTHY)
    report = told.report()
    assert (report.fleet.gpus, report.notes) == (1, ["1 record of scores could not be read"])
