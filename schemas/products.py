"""What each GPU product has by design: its NVLinks and its PCIe link.

Sources: NVIDIA's data sheets and architecture papers of the products (V100, A100, A800, H100, H800, H20, H200,
GH200, B200, B300, GB200 NVL72, GB300 NVL72, A30, A40, L4, L40S, T4, RTX PRO 6000). A data sheet gives NVLink as
the total of both directions and all links; a link's share of one direction is what stands here.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec


class Product(msgspec.Struct, frozen=True):
    """One product.

    nvlinks: how many leave the GPU, 0 = none. gb_per_s: of one link and direction. bridged: only where somebody has
    fitted a bridge, or the maker of the board has wired them; no link up is then no fault. pcie_generation,
    pcie_width: of its connector, at most; 0 = not stated. resets_alone: without the GPUs that NVLink joins it to;
    those before Ampere do not (NVIDIA, nvidia-smi: --gpu-reset).
    """

    name: str
    nvlinks: int
    gb_per_s: float
    pcie_generation: int
    pcie_width: int
    bridged: bool = False
    resets_alone: bool = True

    @property
    def nvlink_gb_per_s(self) -> float:
        """All links of the GPU together, one direction."""
        return self.nvlinks * self.gb_per_s


def _model(pattern: str, product: Product) -> tuple[re.Pattern[str], Product]:
    return re.compile(pattern, re.IGNORECASE), product


# The first pattern found in the model's name counts. `\b` keeps B200 apart from GB200, H20 from H200.
_MODELS = (
    _model(r"\bV100-SXM", Product("V100 SXM", 6, 25.0, 3, 16, resets_alone=False)),
    _model(r"\bA100-SXM", Product("A100 SXM", 12, 25.0, 4, 16)),
    _model(r"\bA100\b.*PCIE", Product("A100 PCIe", 12, 25.0, 4, 16, bridged=True)),
    _model(r"\bA800-SXM", Product("A800 SXM", 8, 25.0, 4, 16)),
    _model(r"\bA800\b", Product("A800 PCIe", 8, 25.0, 4, 16, bridged=True)),
    _model(r"\bA30\b", Product("A30", 4, 25.0, 4, 16, bridged=True)),
    _model(r"\bA40\b", Product("A40", 4, 14.0625, 4, 16, bridged=True)),
    _model(r"\bH100 NVL\b", Product("H100 NVL", 12, 25.0, 5, 16, bridged=True)),
    _model(r"\bH100\b.*PCIE", Product("H100 PCIe", 12, 25.0, 5, 16, bridged=True)),
    _model(r"\bH100\b.*(HBM|SXM)", Product("H100 SXM", 18, 25.0, 5, 16)),
    _model(r"\bH800 NVL\b|\bH800\b.*PCIE", Product("H800 PCIe", 8, 25.0, 5, 16, bridged=True)),
    _model(r"\bH800\b", Product("H800 SXM", 8, 25.0, 5, 16)),
    _model(r"\bH200 NVL\b", Product("H200 NVL", 18, 25.0, 5, 16, bridged=True)),
    _model(r"\bH200\b", Product("H200 SXM", 18, 25.0, 5, 16)),
    _model(r"\bH20\b", Product("H20", 18, 25.0, 5, 16)),
    _model(r"\bGH200\b", Product("GH200", 18, 25.0, 0, 0, bridged=True)),
    _model(r"\bGB200\b", Product("GB200", 18, 50.0, 0, 0)),
    _model(r"\bGB300\b", Product("GB300", 18, 50.0, 0, 0)),
    _model(r"\bB200\b", Product("B200", 18, 50.0, 0, 0)),
    _model(r"\bB300\b", Product("B300", 18, 50.0, 0, 0)),
    _model(r"\b(Tesla )?T4\b", Product("T4", 0, 0.0, 3, 16)),
    _model(r"\bL40S?\b", Product("L40, L40S", 0, 0.0, 4, 16)),
    _model(r"\bL4\b", Product("L4", 0, 0.0, 4, 16)),
    _model(r"\bRTX PRO 6000\b", Product("RTX PRO 6000", 0, 0.0, 5, 16)),
)


@cache
def product(model: str) -> Product | None:
    """The product of a model as the driver names it ("NVIDIA H100 80GB HBM3"); None if we do not know it."""
    return next((product for pattern, product in _MODELS if pattern.search(model)), None)


def resets_alone(model: str, peers: bool) -> bool:
    """Whether such a GPU can be reset without others. peers: NVLinks join it to some. Of an unknown model with peers
    nobody can tell: no.
    """
    known = product(model)
    return not peers if known is None else known.resets_alone
