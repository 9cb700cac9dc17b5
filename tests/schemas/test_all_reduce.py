"""The specified table of what bandwidth costs a tensor-parallel group, and what lies between its rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.all_reduce import H100_GB_PER_S, LOST, PCIE_GB_PER_S, impact, pcie_gb_per_s
from schemas.products import product
from schemas.states import GroupAction

FALLBACK = PCIE_GB_PER_S / H100_GB_PER_S
SHARES = st.floats(0.0, 1.2)
FALLBACKS = st.floats(0.01, 0.99)
ACTIONS = list(GroupAction)


@pytest.mark.parametrize(
    ("gb_per_s", "latency_ms", "change_percent", "action"),
    [
        (450, 12.5, 0.0, "none"),
        (400, 13.0, -4.0, "monitor"),
        (300, 14.8, -15.0, "schedule-maintenance"),
        (50, 28.2, -56.0, "evict-from-group"),
    ],
)
def test_the_rows_of_the_specification(gb_per_s: float, latency_ms: float, change_percent: float, action: str) -> None:
    assert impact(gb_per_s / H100_GB_PER_S, FALLBACK) == (latency_ms, change_percent, action)


@pytest.mark.parametrize("links", [18, 16, 12])
def test_a_row_is_reached_by_its_number_of_links(links: int) -> None:
    assert impact(450.0 * (links / 18) / 450.0, FALLBACK) == impact(links * 25 / H100_GB_PER_S, FALLBACK)


def test_gpus_that_do_not_reach_one_another_do_nothing() -> None:
    assert LOST == (None, -100.0, "replace")
    assert impact(0.0, FALLBACK) == impact(49.9 / H100_GB_PER_S, FALLBACK) == LOST


def test_half_way_between_two_rows_numbers_are_half_way_and_the_action_is_the_lower_ones() -> None:
    assert impact(350 / H100_GB_PER_S, FALLBACK) == (13.9, -9.5, "schedule-maintenance")
    assert impact(425 / H100_GB_PER_S, FALLBACK) == (12.75, -2.0, "monitor")


def test_more_than_expected_is_no_better_than_all_of_it() -> None:
    assert impact(1.1, FALLBACK) == impact(1.0, FALLBACK)


@given(SHARES, SHARES, FALLBACKS)
def test_less_bandwidth_is_never_better(one: float, other: float, fallback: float) -> None:
    less, more = impact(min(one, other), fallback), impact(max(one, other), fallback)
    assert less.throughput_change_percent <= more.throughput_change_percent
    assert ACTIONS.index(less.action) >= ACTIONS.index(more.action)
    if less.decode_latency_ms is not None:
        assert more.decode_latency_ms is not None
        assert less.decode_latency_ms >= more.decode_latency_ms


@pytest.mark.parametrize(
    ("model", "gb_per_s"),
    [
        ("NVIDIA H100 80GB HBM3", 50.0),
        ("NVIDIA A100-SXM4-80GB", 25.0),
        ("Tesla V100-SXM2-32GB", 12.5),
        ("NVIDIA GB200", 50.0),
    ],
)
def test_what_pcie_gives_by_its_generation(model: str, gb_per_s: float) -> None:
    known = product(model)
    assert known is not None
    assert pcie_gb_per_s(known) == gb_per_s
