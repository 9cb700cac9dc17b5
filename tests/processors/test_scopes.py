"""What units a GPU is part of, and that counts per unit are those of a recount, whatever came before."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processors.cluster_policy import GroupsPolicy
from processors.groups import Groups
from processors.scopes import Ledger, Unit, units
from schemas.records import ConditionChange, GpuInfo, Inventory, Placement
from schemas.states import Condition

NAMES = st.sampled_from([Unit(kind, name) for kind in ("node", "rack", "group") for name in "123"])
MOVES = st.lists(st.tuples(st.sampled_from("ABCDE"), st.none() | st.lists(NAMES, unique=True, max_size=4)))


@given(MOVES)
def test_counts_are_those_of_a_recount(moves: list[tuple[str, list[Unit] | None]]) -> None:
    ledger, kept = Ledger(), dict[str, tuple[Unit, ...]]()
    for gpu, of in moves:
        before = Counter(unit for each in kept.values() for unit in each)
        ledger.freed.clear()
        if of is None:
            ledger.drop(gpu)
            kept.pop(gpu, None)
        else:
            ledger.put(gpu, tuple(of))
            kept[gpu] = tuple(of)
        now = Counter(unit for each in kept.values() for unit in each)
        assert ledger.used == now
        assert len(ledger) == len(kept)
        assert ledger.kinds == Counter(unit.kind for unit in now)
        assert {unit for unit in before if before[unit] > now[unit]} <= ledger.freed, "who waits for room is asked"


def gpu(uuid: str = "A", node: str = "n1") -> ConditionChange:
    return ConditionChange(ts=1, cluster="c", node=node, uuid=uuid, score=1, held=1, condition=Condition.HEALTHY)


def test_units_of_a_gpu() -> None:
    groups = Groups(GroupsPolicy())
    assert list(map(str, units(gpu(), groups))) == ["node n1", "domain n1"]
    listed = [GpuInfo(uuid="A", model="NVIDIA H100 80GB HBM3")]
    groups.take_inventory(Inventory(ts=1, node="n1", gpus=listed, rack="r7"))
    assert list(map(str, units(gpu(), groups))) == ["node n1", "rack r7", "domain n1"]
    for group in ("g2", "g1"):
        groups.place(Placement(ts=1, node="n1", group=group, gpus=["A"], model="llama", namespace="chat"))
    found = list(map(str, units(gpu(), groups)))
    assert found == ["node n1", "rack r7", "domain n1", "group g1", "group g2", "model chat/llama"]


def test_where_nvlink_spans_a_rack_that_is_the_domain() -> None:
    groups = Groups(GroupsPolicy())
    groups.take_inventory(Inventory(ts=1, node="n1", gpus=[GpuInfo(uuid="A", model="NVIDIA GB200")], rack="r7"))
    assert Unit("domain", "r7") in units(gpu(), groups)
