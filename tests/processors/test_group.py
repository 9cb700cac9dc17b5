"""The verdict on one group, by example and in any order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.cluster_policy import GroupsPolicy
from processors.group import ISSUES_MAX, Facts, Presence, judge
from processors.links import GpuLinks
from schemas.records import GpuInfo, GroupVerdict, Inventory, LinkStatus, Placement

H100 = "NVIDIA H100 80GB HBM3"
Way = tuple[str, str]


def links(up: int | None, model: str = H100, node: str = "n1", total: int = 18) -> GpuLinks:
    made = GpuLinks()
    info = GpuInfo(uuid="-", model=model)
    made.take_inventory(Inventory(ts=1, node=node, gpus=[info]), info)
    if up is not None:
        made.take_status(LinkStatus(ts=1, node=node, links=["up"] * up + ["down"] * (total - up)))
    return made


def verdict(
    up: Mapping[str, Any],
    measured: Mapping[Way, float] | None = None,
    presence: Mapping[str, Presence] | None = None,
    gpus: str = "",
    **policy: Any,
) -> GroupVerdict:
    """up: GPU -> its links that are up, or all that is known of them."""
    known = {gpu: each if isinstance(each, GpuLinks) else links(each) for gpu, each in up.items()}
    present = dict.fromkeys(known, Presence.FINE) | dict(presence or {})
    placement = Placement(ts=1, node="n1", group="g", gpus=list(gpus or known), model="llama-70b")
    return judge(placement, Facts(present, known, measured or {}), GroupsPolicy(**policy))


def blamed(of: GroupVerdict) -> list[tuple[str, list[str]]]:
    return [(each.kind, each.gpus) for each in of.blamed]


def issues(of: GroupVerdict) -> list[tuple[str, list[str], float | None, float | None]]:
    return [(each.kind, each.gpus, each.measured, each.expected) for each in of.issues]


@pytest.mark.parametrize(
    ("up", "gb_per_s", "latency_ms", "change", "action", "condition"),
    [
        (18, 450.0, 12.5, 0.0, "none", "healthy"),
        (17, 425.0, 12.75, -2.0, "monitor", "warning"),
        (16, 400.0, 13.0, -4.0, "monitor", "warning"),
        (12, 300.0, 14.8, -15.0, "schedule-maintenance", "degraded"),
        (0, 50.0, 28.2, -56.0, "evict-from-group", "failed"),
    ],
)
def test_two_h100_by_the_links_of_the_one_with_fewer(
    up: int, gb_per_s: float, latency_ms: float, change: float, action: str, condition: str
) -> None:
    found = verdict({"A": up, "B": 18})
    assert (found.all_reduce_gb_per_s, found.expected_gb_per_s) == (gb_per_s, 450.0)
    assert (found.decode_latency_ms, found.throughput_change_percent) == (latency_ms, change)
    assert (found.action, found.condition, found.basis, found.scaled) == (action, condition, "links", False)
    assert found.worst == ["A", "B"]


def test_a_lost_gpu_leaves_nothing_and_is_to_be_replaced() -> None:
    found = verdict({"A": 18, "B": 18}, presence={"B": Presence.LOST})
    assert (found.action, found.condition, found.basis) == ("replace", "failed", "lost")
    assert (found.throughput_change_percent, found.all_reduce_gb_per_s, found.decode_latency_ms) == (-100.0, 0.0, None)
    assert (blamed(found), found.evict) == ([("gpu", ["B"])], ["B"])


def test_a_failed_peer_is_to_blame_before_one_that_failed_by_its_links() -> None:
    lost = {"A": Presence.LOST_BY_LINK, "B": Presence.LOST}
    assert blamed(verdict({"A": 18, "B": 18, "C": 18}, presence=lost)) == [("gpu", ["B"])]
    assert blamed(verdict({"A": 18, "B": 18, "C": 18}, presence={"A": Presence.LOST_BY_LINK})) == [("gpu", ["A"])]


def test_too_few_links_name_the_gpu_and_what_is_expected() -> None:
    found = verdict({"A": 16, "B": 18})
    assert issues(found) == [("topology", ["A"], 16, 18)]
    assert found.issues[0].text == "A has 16 of 18 NVLinks up"
    assert blamed(found) == [("gpu", ["A"])]
    assert found.evict == [], "it can go on"


@pytest.mark.parametrize(("gb_per_s", "bad"), [(360.0, False), (359.9, True), (395.0, False)])
def test_a_pair_below_80_percent_is_an_issue_that_names_both_figures(gb_per_s: float, bad: bool) -> None:
    found = verdict({"A": 18, "B": 18}, {("A", "B"): gb_per_s})
    assert issues(found) == ([("pair", ["A", "B"], gb_per_s, 450.0)] if bad else [])
    assert (found.condition == "healthy") is not bad
    assert (found.basis, found.all_reduce_gb_per_s) == ("measured", gb_per_s)


def test_the_limit_of_a_pair_is_policy() -> None:
    assert issues(verdict({"A": 18, "B": 18}, {("A", "B"): 395.0}, pair_share_min=0.9))


def test_of_two_directions_the_slower_one_counts() -> None:
    found = verdict({"A": 18, "B": 18}, {("A", "B"): 400.0, ("B", "A"): 300.0})
    assert (found.all_reduce_gb_per_s, found.action) == (300.0, "schedule-maintenance")
    assert blamed(found) == [("link", ["A", "B"])]


def test_what_is_measured_below_pcie_is_as_good_as_nothing() -> None:
    found = verdict({"A": 18, "B": 18}, {("A", "B"): 49.0})
    assert (found.action, found.throughput_change_percent, found.decode_latency_ms) == ("replace", -100.0, None)


def test_the_gpu_whose_every_pair_is_slow_is_to_blame() -> None:
    slow = {("A", peer): 200.0 for peer in "BCD"}
    fast = dict.fromkeys([("B", "C"), ("B", "D"), ("C", "D")], 390.0)
    found = verdict(dict.fromkeys("ABCD", 18), slow | fast)
    assert blamed(found) == [("gpu", ["A"])]
    assert found.evict == ["A"]


def test_the_worst_pair_decides() -> None:
    found = verdict({"A": 18, "B": 12, "C": 16})
    assert (found.worst, found.action) == (["A", "B"], "schedule-maintenance")
    assert blamed(found) == [("gpu", ["B"]), ("gpu", ["C"])]


@pytest.mark.parametrize(
    ("up", "text"),
    [
        ({"A": 18, "B": None}, "B has told nothing of its NVLinks"),
        ({"A": 18, "B": GpuLinks()}, "B is of a model that is not known: ''"),
    ],
)
def test_what_nobody_has_told_is_unknown_and_never_fine(up: Mapping[str, Any], text: str) -> None:
    found = verdict(up)
    assert (found.condition, found.action) == ("unknown", "monitor")
    assert [issue.text for issue in found.issues] == [text]
    assert (found.all_reduce_gb_per_s, found.decode_latency_ms, found.throughput_change_percent) == (None, None, None)


def test_a_gpu_that_nobody_has_heard_of_makes_the_group_unknown() -> None:
    found = verdict({"A": 18}, gpus="AB")
    assert (found.condition, issues(found)) == ("unknown", [("unknown", ["B"], None, None)])


def test_a_gpu_that_cannot_be_judged_makes_the_group_unknown() -> None:
    assert verdict({"A": 18, "B": 18}, presence={"B": Presence.UNKNOWN}).condition == "unknown"


def test_a_fault_that_is_certain_outranks_what_is_unknown() -> None:
    assert verdict({"A": 18}, presence={"A": Presence.LOST}, gpus="AB").condition == "failed"
    assert verdict({"A": 12, "B": 18}, gpus="ABC").action == "schedule-maintenance"


def test_a_measurement_says_enough_where_no_links_are_told() -> None:
    assert verdict({"A": None, "B": None}, {("A", "B"): 390.0}).condition == "healthy"


def test_another_product_is_judged_by_its_share() -> None:
    model, other = "NVIDIA GB200", "NVIDIA A100-SXM4-80GB"
    found = verdict({"A": links(16, model), "B": links(18, model, node="n2")})
    assert (found.all_reduce_gb_per_s, found.expected_gb_per_s, found.throughput_change_percent) == (800.0, 900.0, -4.0)
    assert found.scaled
    fallback = verdict({"A": links(0, other, total=12), "B": links(12, other, total=12)})
    assert (fallback.all_reduce_gb_per_s, fallback.throughput_change_percent) == (25.0, -56.0)


def test_gpus_on_other_machines_are_a_matter_of_the_network() -> None:
    found = verdict({"A": links(18), "B": links(18, node="n2")})
    assert (found.condition, found.worst, found.all_reduce_gb_per_s, found.basis) == ("healthy", [], None, "")


def test_one_gpu_alone_is_judged_by_its_own_links() -> None:
    assert verdict({"A": 18}).condition == "healthy"
    assert verdict({"A": 16}).condition == "warning"


def test_gpus_without_nvlink_are_only_measured() -> None:
    up = {"A": links(0, "NVIDIA L40S"), "B": links(0, "NVIDIA L40S")}
    assert verdict(up).condition == "healthy"
    found = verdict(up, {("A", "B"): 12.0})
    assert issues(found) == [("pair", ["A", "B"], 12.0, 25.0)]
    assert found.action == "monitor"


def test_a_verdict_stays_readable_however_much_is_wrong() -> None:
    found = verdict({f"G{number:02}": 9 for number in range(16)})
    assert (len(found.issues), found.more_issues) == (ISSUES_MAX, 16 + 120 - ISSUES_MAX)


@given(
    st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from([None, 18, 18, 18, 16, 12, 0]), min_size=1),
    st.dictionaries(st.tuples(st.sampled_from("ABCDE"), st.sampled_from("ABCDE")), st.floats(0, 460)),
    st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from(Presence)),
    st.integers(),
)
def test_in_any_order(
    up: dict[str, int | None], measured: dict[Way, float], presence: dict[str, Presence], seed: int
) -> None:
    found = verdict(up, measured, presence, gpus="ABCDE")
    turned = list("ABCDE")
    random.Random(seed).shuffle(turned)
    other = verdict(dict(reversed(up.items())), measured, presence, gpus="".join(turned))
    other.gpus = found.gpus
    assert other == found
    known = [gpu for gpu in "ABCDE" if presence.get(gpu, Presence.FINE) is Presence.FINE and gpu in up]
    if len(known) < 5:
        assert found.condition != "healthy", "what is unknown or lost is never fine"
    if found.condition == "healthy":
        assert (found.issues, found.blamed, found.action) == ([], [], "none")
    assert set(found.evict) <= {gpu for each in found.blamed for gpu in each.gpus}
