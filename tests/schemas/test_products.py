"""The products: the driver's names lead to what the data sheets say."""

from __future__ import annotations

import pytest

from schemas.products import product

DATA_SHEETS = [  # model as the driver names it, links, GB/s of all links in one direction, PCIe
    ("Tesla V100-SXM2-32GB", 6, 150, (3, 16)),
    ("NVIDIA A100-SXM4-80GB", 12, 300, (4, 16)),
    ("NVIDIA A100 80GB PCIe", 12, 300, (4, 16)),
    ("A100-PCIE-40GB", 12, 300, (4, 16)),
    ("NVIDIA A800-SXM4-80GB", 8, 200, (4, 16)),
    ("NVIDIA A30", 4, 100, (4, 16)),
    ("NVIDIA A40", 4, 56.25, (4, 16)),
    ("NVIDIA H100 80GB HBM3", 18, 450, (5, 16)),
    ("NVIDIA H100 PCIe", 12, 300, (5, 16)),
    ("NVIDIA H100 NVL", 12, 300, (5, 16)),
    ("NVIDIA H800", 8, 200, (5, 16)),
    ("NVIDIA H20", 18, 450, (5, 16)),
    ("NVIDIA H200", 18, 450, (5, 16)),
    ("NVIDIA H200 NVL", 18, 450, (5, 16)),
    ("NVIDIA GH200 480GB", 18, 450, (0, 0)),
    ("NVIDIA B200", 18, 900, (0, 0)),
    ("NVIDIA GB200", 18, 900, (0, 0)),
    ("NVIDIA GB300", 18, 900, (0, 0)),
    ("NVIDIA L40S", 0, 0, (4, 16)),
    ("NVIDIA L4", 0, 0, (4, 16)),
    ("Tesla T4", 0, 0, (3, 16)),
]


@pytest.mark.parametrize(("model", "links", "gb_per_s", "pcie"), DATA_SHEETS)
def test_a_model_has_what_its_data_sheet_says(model: str, links: int, gb_per_s: float, pcie: tuple[int, int]) -> None:
    found = product(model)
    assert found is not None
    assert (found.nvlinks, found.nvlink_gb_per_s) == (links, gb_per_s)
    assert (found.pcie_generation, found.pcie_width) == pcie


@pytest.mark.parametrize("model", ["", "NVIDIA X999", "NVIDIA GeForce RTX 4090"])
def test_an_unknown_model_is_no_product(model: str) -> None:
    assert product(model) is None


def test_cards_need_a_bridge_and_boards_do_not() -> None:
    bridged = {model for model, *_ in DATA_SHEETS if (found := product(model)) and found.bridged}
    assert {"NVIDIA H100 NVL", "NVIDIA H100 PCIe", "NVIDIA A30"} <= bridged
    assert not bridged & {"NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA B200", "NVIDIA GB200"}
