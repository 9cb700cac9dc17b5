"""One GPU of the double, read, for tests."""

from __future__ import annotations

from producers.nvml.reader import Reader
from producers.nvml.ways import WAYS
from producers.watched import WATCHED
from schemas import fields
from tests.producers.nvml.double import Nvml

ECC = (fields.ECC_SBE_VOLATILE, fields.ECC_DBE_VOLATILE, fields.ECC_SBE_AGGREGATE, fields.ECC_DBE_AGGREGATE)
ROWS = (
    fields.REMAPPED_CORRECTABLE,
    fields.REMAPPED_UNCORRECTABLE,
    fields.ROW_REMAP_PENDING,
    fields.ROW_REMAP_FAILURE,
)
PAGES = (fields.RETIRED_SBE, fields.RETIRED_DBE, fields.RETIRED_PENDING)


def opened(nvml: Nvml | None = None) -> Nvml:
    nvml = nvml or Nvml(1)
    nvml.nvmlInit()
    return nvml


def reader(nvml: Nvml, *ids: int, turn: int = 0) -> Reader[int]:
    return Reader(nvml, nvml.nvmlDeviceGetHandleByIndex(0), {id: WAYS[id] for id in ids or WATCHED}, turn)


def read(nvml: Nvml, *ids: int) -> dict[int, float | None]:
    return reader(nvml, *ids).read()
