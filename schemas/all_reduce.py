"""What the bandwidth between the GPUs of a tensor-parallel group costs: the specified table, and what lies between.

The rows are the product specification's (section 8), measured with Llama 70B over two H100 (18 NVLinks of 25 GB/s).
A row is reached by the share of the expected bandwidth, so that it says something about other products as well;
only the fallback to PCIe stands where the product's own PCIe puts it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from schemas.products import Product
from schemas.states import GroupAction

MEASURED_ON = "H100 SXM"  # the product of the table
H100_GB_PER_S = 450.0
PCIE_GB_PER_S = 50.0  # of PCIe 5.0 x16, which the H100 has
_PCIE_GENERATION = 5


class Impact(NamedTuple):
    """decode_latency_ms: None where nothing is decoded any more."""

    decode_latency_ms: float | None
    throughput_change_percent: float
    action: GroupAction


class _Row(NamedTuple):
    share: float
    latency_ms: float
    change_percent: float
    action: GroupAction


_NVLINK = (
    _Row(450.0 / H100_GB_PER_S, 12.5, 0.0, GroupAction.NONE),
    _Row(400.0 / H100_GB_PER_S, 13.0, -4.0, GroupAction.MONITOR),
    _Row(300.0 / H100_GB_PER_S, 14.8, -15.0, GroupAction.SCHEDULE_MAINTENANCE),
)
_FALLBACK = _Row(PCIE_GB_PER_S / H100_GB_PER_S, 28.2, -56.0, GroupAction.EVICT_FROM_GROUP)
LOST = Impact(None, -100.0, GroupAction.REPLACE)


def pcie_gb_per_s(product: Product) -> float:
    """What is left between two GPUs without NVLink: 50 GB/s for PCIe 5.0, half as much per generation before."""
    behind = max(0, _PCIE_GENERATION - product.pcie_generation) if product.pcie_generation else 0
    return PCIE_GB_PER_S / 2.0**behind


def impact(share: float, fallback: float) -> Impact:
    """What `share` of the expected bandwidth (1.0 = all of it) does to the group.

    fallback: the share that PCIe alone gives; below it the GPUs do not reach one another. Between two rows numbers
    are on a straight line, and the action is the lower row's.
    """
    if share >= 1.0:
        return _of(_NVLINK[0])
    if share < fallback:
        return LOST
    rows = [*(row for row in _NVLINK if row.share > fallback), _FALLBACK._replace(share=fallback)]
    for better, worse in pairwise(rows):
        if share >= worse.share:
            way = (share - worse.share) / (better.share - worse.share)
            return Impact(
                round(worse.latency_ms + (better.latency_ms - worse.latency_ms) * way, 2),
                round(worse.change_percent + (better.change_percent - worse.change_percent) * way, 2),
                worse.action if share < better.share else better.action,
            )
    return _of(rows[-1])


def _of(row: _Row) -> Impact:
    return Impact(row.latency_ms, row.change_percent, row.action)
