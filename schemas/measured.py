"""What bandwidth tools measure between GPUs, whatever the tool: `schemas.nvbandwidth`, `schemas.nccl_tests`."""

from __future__ import annotations

import math
from typing import NamedTuple


class Place(NamedTuple):
    """A GPU as a tool names it. node: the tool's name of the machine, "" = not said. bdf: as `canonical_bdf` writes."""

    node: str
    bdf: str


class Measured(NamedTuple):
    """From one GPU to another one, in GB/s, one direction."""

    gpu: Place
    peer: Place
    gb_per_s: float


class Report(NamedTuple):
    """tool: "" where the text is none of a tool that we know. notes: what could not be used, in words."""

    tool: str
    measured: list[Measured]
    notes: list[str]


def gb_per_s(text: str) -> float | None:
    """A figure of a table; None for what was not measured (0, N/A) or is no figure."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 < value < 1e6 and math.isfinite(value) else None
