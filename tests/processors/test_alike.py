"""Pairs that are told once are alike, each of them, and no pair is left out."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.alike import Pairs, pairs
from processors.cluster_policy import GroupsPolicy
from processors.group import Facts, Presence, conclude, judge
from processors.links import GpuLinks, Seen, pair
from schemas.records import GpuInfo, Inventory, LinkStatus, Placement

GPUS = "ABCDEF"
MODELS = [
    "NVIDIA H100 80GB HBM3",
    "NVIDIA GB200",
    "NVIDIA GB300",
    "NVIDIA L40S",
    "Tesla V100-SXM2-32GB",
    "NVIDIA H100 NVL",
    "of another maker",
]
Measured = dict[tuple[str, str], float]


@st.composite
def links(draw: Any, models: list[str], wired: bool) -> GpuLinks:
    """Of one GPU, as inventories and states make it."""
    made = GpuLinks()
    for _ in range(draw(st.integers(0, 2))):
        peers = draw(st.dictionaries(st.sampled_from(GPUS), st.sampled_from([1, 2]))) if wired else {}
        info = GpuInfo(uuid="-", model=draw(st.sampled_from(models)), peers=peers)
        node, rack = draw(st.sampled_from(["n1", "n1", "n2"])), draw(st.sampled_from(["", "r1", "r1", "r2"]))
        made.take_inventory(Inventory(ts=1, node=node, gpus=[info], rack=rack), info)
    up = draw(st.sampled_from([None, 18, 18, 18, 12, 6, 4, 0]))
    if up is not None:
        made.take_status(LinkStatus(ts=1, node="n1", links=["up"] * up))
    return made


@st.composite
def known(draw: Any) -> tuple[dict[str, GpuLinks], Measured]:
    models, wired = draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=2)), draw(st.booleans())
    ways = st.sampled_from([(a, b) for a in GPUS for b in GPUS if a != b])
    measured = draw(st.dictionaries(ways, st.sampled_from([400.0, 200.0, 10.0]), max_size=6))
    return {gpu: draw(links(models, wired)) for gpu in draw(st.sets(st.sampled_from(GPUS)))}, measured


def one_by_one(seen: dict[str, Seen], measured: Measured) -> list[Pairs]:
    """Each pair by itself."""
    found = []
    for a, b in combinations(sorted(seen), 2):
        both = [measured[way] for way in ((a, b), (b, a)) if way in measured]
        found.append(Pairs(pair(a, b, seen[a], seen[b], min(both, default=None)), [a], [b]))
    return found


def of_these(measured: Measured, gpus: Any) -> Measured:
    return {way: gb_per_s for way, gb_per_s in measured.items() if set(way) <= set(gpus)}


@given(known())
def test_every_pair_is_told_as_it_is(given: tuple[dict[str, GpuLinks], Measured]) -> None:
    seen = {gpu: Seen.of(each) for gpu, each in given[0].items()}
    measured = of_these(given[1], seen)
    told = [each.first._replace(a=a, b=b) for each in pairs(seen, measured) for a, b in each.edges()]
    assert sorted(told) == sorted(each.first for each in one_by_one(seen, measured))
    for each in pairs(seen, measured):
        edges = list(each.edges())
        assert (each.number, min(edges)) == (len(edges), (each.first.a, each.first.b))
        assert {gpu for edge in edges for gpu in edge} == set(each.gpus)


@given(known(), st.dictionaries(st.sampled_from(GPUS), st.sampled_from(Presence)), st.sampled_from([0.5, 0.8, 0.95]))
def test_a_verdict_does_not_depend_on_what_is_told_together(
    given: tuple[dict[str, GpuLinks], Measured], presence: dict[str, Presence], pair_share_min: float
) -> None:
    facts = Facts(dict.fromkeys(given[0], Presence.FINE) | presence, given[0], of_these(given[1], GPUS))
    placement, policy = (
        Placement(ts=1, node="n1", group="g", gpus=list(GPUS)),
        GroupsPolicy(pair_share_min=pair_share_min),
    )
    lost = [gpu for gpu in GPUS if facts.presence.get(gpu) in (Presence.LOST, Presence.LOST_BY_LINK)]
    seen = {gpu: Seen.of(given[0].get(gpu, GpuLinks())) for gpu in GPUS if gpu not in lost}
    alone = one_by_one(seen, facts.measured)  # type: ignore[arg-type]
    assert judge(placement, facts, policy) == conclude(placement, facts, policy, lost, seen, alone)


def test_a_rack_that_is_well_has_one_kind_of_pair() -> None:
    seen = {}
    for number in range(72):
        made, info = GpuLinks(), GpuInfo(uuid="-", model="NVIDIA GB200")
        made.take_inventory(Inventory(ts=1, node=f"tray{number // 4}", gpus=[info], rack="r1"), info)
        made.take_status(LinkStatus(ts=1, node=made.node, links=["up"] * 18))
        seen[f"G{number:02}"] = Seen.of(made)
    (found,) = pairs(seen, {})
    assert found.number == 2556
