"""What two GPUs have between them, behind switches and without."""

from __future__ import annotations

import pytest

from processors.links import GpuLinks, Pair, Seen
from processors.links import pair as seen_pair
from schemas.records import GpuInfo, Inventory, LinkStatus

H100, A100, V100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "Tesla V100-SXM2-32GB"


def links(
    up: int | None = None, *, model: str = H100, node: str = "n1", rack: str = "", peers: dict[str, int] | None = None
) -> GpuLinks:
    made = GpuLinks()
    info = GpuInfo(uuid="-", model=model, peers=peers or {})
    made.take_inventory(Inventory(ts=1, node=node, gpus=[info], rack=rack), info)
    if up is not None:
        status(made, up, total=made.expected or up)
    return made


def status(of: GpuLinks, up: int, *, ts: int = 1, total: int = 18) -> bool:
    return of.take_status(LinkStatus(ts=ts, node="n1", links=["up"] * up + ["down"] * (total - up)))


def pair(a: str, b: str, one: GpuLinks, other: GpuLinks, measured: float | None) -> Pair:
    return seen_pair(a, b, Seen.of(one), Seen.of(other), measured)


def between(one: GpuLinks, other: GpuLinks, measured: float | None = None) -> Pair:
    return pair("A", "B", one, other, measured)


@pytest.mark.parametrize(
    ("one", "other", "gb_per_s"), [(18, 18, 450), (16, 18, 400), (12, 16, 300), (0, 18, 50), (1, 18, 50)]
)
def test_behind_switches_the_one_with_fewer_links_decides(one: int, other: int, gb_per_s: float) -> None:
    found = between(links(one), links(other))
    assert (found.kind, found.expected_gb_per_s, found.links) == ("nvlink", 450.0, min(one, other))
    assert found.gb_per_s == pytest.approx(gb_per_s)


def test_links_listed_for_every_peer_are_links_to_switches() -> None:
    """As one driver lists a GPU of an HGX H100: 18 to each of the others."""
    assert between(links(16, peers={"B": 18, "C": 18}), links(18, peers={"A": 18, "C": 18})).links == 16


def test_direct_links_count_between_the_two_alone() -> None:
    one = links(6, model=V100, peers={"B": 2, "C": 2, "D": 2})
    other = links(6, model=V100, peers={"A": 2, "C": 4})
    found = between(one, other)
    assert (found.links, found.links_expected, found.expected_gb_per_s) == (2, 2, 50.0)


def test_a_direct_link_is_lost_only_where_both_ends_lack_one() -> None:
    peers = {"B": 2, "C": 2, "D": 2}
    one, other = links(5, model=V100, peers=peers), links(5, model=V100, peers={"A": 2, "C": 2, "D": 2})
    third = links(6, model=V100, peers={"A": 2, "B": 2, "D": 2})
    assert between(one, other).links == 1
    assert pair("A", "C", one, third, None).links == 2


def test_a_direct_link_that_is_not_listed_any_more_is_lost() -> None:
    one, other = links(6, model=V100, peers={"B": 2, "C": 4}), links(6, model=V100, peers={"A": 2, "C": 4})
    shorter = GpuInfo(uuid="A", model=V100, peers={"B": 1, "C": 4})
    assert one.take_inventory(Inventory(ts=2, node="n1", gpus=[shorter]), shorter)
    found = between(one, other)
    assert (found.links, found.links_expected) == (1, 2)


def test_gpus_without_a_link_between_them_have_pcie() -> None:
    one, other = links(6, model=V100, peers={"C": 6}), links(6, model=V100, peers={"D": 6})
    found = between(one, other)
    assert (found.kind, found.gb_per_s) == ("pcie", 12.5)


def test_no_bridge_is_no_fault() -> None:
    found = between(links(0, model="NVIDIA H100 PCIe"), links(0, model="NVIDIA H100 PCIe"))
    assert (found.kind, found.gb_per_s) == ("pcie", 50.0)
    assert links(0, model="NVIDIA H100 PCIe").missing == 0


@pytest.mark.parametrize(("one", "other"), [(None, 18), (18, None), (None, None)])
def test_links_that_nobody_has_told_of_are_unknown(one: int | None, other: int | None) -> None:
    found = between(links(one), links(other))
    assert (found.kind, found.links, found.gb_per_s) == ("nvlink", None, None)


def test_of_an_unknown_model_nothing_is_expected() -> None:
    assert between(links(18, model="NVIDIA X1"), links(18)).kind == "unknown"
    assert between(GpuLinks(), GpuLinks()).kind == "unknown"


def test_a_measurement_outranks_the_links() -> None:
    assert between(links(18), links(18), 320.0).gb_per_s == 320.0


@pytest.mark.parametrize(
    ("model", "racks", "kind"),
    [
        (H100, ("", ""), "network"),
        ("NVIDIA GB200", ("", ""), "nvlink"),
        ("NVIDIA GB200", ("r1", "r1"), "nvlink"),
        ("NVIDIA GB200", ("r1", ""), "nvlink"),
        ("NVIDIA GB200", ("r1", "r2"), "network"),
    ],
)
def test_which_domains_span_nodes(model: str, racks: tuple[str, str], kind: str) -> None:
    one, other = links(18, model=model, rack=racks[0]), links(18, model=model, node="n2", rack=racks[1])
    assert between(one, other).kind == kind


def test_a_state_that_nobody_knows_leaves_the_number_unknown() -> None:
    of = links()
    of.take_status(LinkStatus(ts=1, node="n1", links=["up"] * 17 + ["unknown"]))
    assert of.up is None


def test_both_orders_are_one_pair() -> None:
    one, other = links(16), links(18, model=A100)
    assert pair("A", "B", one, other, None) == pair("B", "A", other, one, None)


def test_older_states_change_nothing() -> None:
    of = links()
    assert status(of, 18, ts=5)
    assert not status(of, 12, ts=4)
    assert not status(of, 18, ts=6)
    assert (of.up, of.changed_ms) == (18, 0)
    assert status(of, 12, ts=7)
    assert (of.up, of.missing, of.changed_ms) == (12, 6, 7)
