"""What is known of nodes: boots, sequences, and GPUs that cannot be reset alone."""

from __future__ import annotations

import pytest

from processors.nodes import Nodes
from schemas.records import GpuInfo, Inventory


def inventory(boot: str, ts: int = 1, model: str = "NVIDIA H100 80GB HBM3", peers: int = 0) -> Inventory:
    gpu = GpuInfo(uuid="G", model=model, peers=dict.fromkeys(map(str, range(peers)), 1))
    return Inventory(ts=ts, node="n1", gpus=[gpu], boot=boot)


@pytest.mark.parametrize(
    ("told", "rebooted", "boot"),
    [
        ([("a", 1)], [False], "a"),
        ([("a", 1), ("a", 2)], [False, False], "a"),
        ([("a", 1), ("b", 2)], [False, True], "b"),
        ([("a", 1), ("b", 2), ("b", 3)], [False, True, False], "b"),
        ([("a", 1), ("", 2), ("a", 3)], [False, False, False], "a"),  # a source that cannot tell
        ([("", 1), ("a", 2)], [False, False], "a"),
        ([("a", 2), ("b", 1)], [False, True], "b"),  # its clock is behind after the reboot
    ],
)
def test_another_boot_id_is_a_reboot(told: list[tuple[str, int]], rebooted: list[bool], boot: str) -> None:
    nodes = Nodes()
    assert [nodes.take(inventory(id_, ts)) for id_, ts in told] == rebooted
    assert nodes.boot("n1") == boot
    assert nodes.boot("n2") == ""


@pytest.mark.parametrize(
    ("model", "peers", "tied"),
    [
        ("NVIDIA H100 80GB HBM3", 4, False),
        ("NVIDIA A100-SXM4-80GB", 4, False),
        ("Tesla V100-SXM2-32GB", 4, True),
        ("Tesla V100-SXM2-32GB", 0, True),  # a source may not tell of links that the board has
        ("Tesla T4", 0, False),
        ("of another maker", 2, True),
        ("of another maker", 0, False),
    ],
)
def test_who_cannot_be_reset_alone(model: str, peers: int, tied: bool) -> None:
    nodes = Nodes()
    nodes.take(inventory("a", model=model, peers=peers))
    assert nodes.is_tied("n1", "G") is tied
    assert not nodes.is_tied("n2", "G")


def test_sequences_of_a_node_rise_whatever_the_clock_says() -> None:
    nodes = Nodes()
    given = []
    for now_ms in (5, 5, 3, 9):
        given.append(nodes.next_sequence("n1", now_ms))
        nodes.ordered("n1", given[-1])
    assert given == [5, 6, 7, 9]
    assert nodes.next_sequence("n2", 1) == 1
    assert Nodes(nodes.save()).next_sequence("n1", 1) == 10
