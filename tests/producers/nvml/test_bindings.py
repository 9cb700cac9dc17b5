# ruff: noqa: N802 (the names are those of the library)
"""The source through the real `pynvml`, with a library below it that is none."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from producers.nvml.source import Nvml
from producers.source import Observed
from schemas import fields, frames, records

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

UUID = "GPU-0fe7b9f5-4be3-4a0e-8a39-3f0f8a1f6a55"
NOT_SUPPORTED, TIMEOUT = 3, 10


class Library:
    """libnvidia-ml: functions that fill what they are given a reference to, and return a code."""

    def __init__(self) -> None:
        self.device = pynvml.struct_c_nvmlDevice_t()
        self.xids = [48]

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_: NOT_SUPPORTED

    def nvmlInitWithFlags(self, flags: int) -> int:
        return 0

    def nvmlShutdown(self) -> int:
        return 0

    def nvmlErrorString(self, code: int) -> bytes:
        return b"some error"

    def nvmlSystemGetDriverVersion(self, text: Any, size: Any) -> int:
        text.value = b"580.82.07"
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        handle._obj.contents = self.device
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, size: Any) -> int:
        text.value = UUID.encode()
        return 0

    def nvmlDeviceGetPciInfo_v3(self, handle: Any, pci: Any) -> int:
        pci._obj.busId = "00000000:1B:00.0"
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: Any, power: Any) -> int:
        power._obj.value = 71_500
        return 0

    def nvmlDeviceGetViolationStatus(self, handle: Any, policy: Any, times: Any) -> int:
        times._obj.violationTime = 1000 + policy.value
        return 0

    def nvmlDeviceGetRemappedRows(self, handle: Any, *rows: Any) -> int:
        for number, row in enumerate(rows):
            row._obj.value = number
        return 0

    def nvmlDeviceGetGpuFabricInfoV(self, handle: Any, info: Any) -> int:
        info._obj.state = 2
        return 0

    def nvmlDeviceGetFieldValues(self, handle: Any, count: Any, values: Any) -> int:
        told = {(4, 0): 7, (82, 0): 52, (163, 17): 9, (91, 0): 18, **{(165, link): link % 2 for link in range(18)}}
        for value in values._obj:
            value.nvmlReturn = 0 if (value.fieldId, value.scopeId) in told else NOT_SUPPORTED
            value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            value.value.ullVal = told.get((value.fieldId, value.scopeId), 0)
        return 0

    def nvmlEventSetCreate(self, events: Any) -> int:
        return 0

    def nvmlDeviceRegisterEvents(self, handle: Any, types: Any, events: Any) -> int:
        return 0

    def nvmlEventSetWait_v2(self, events: Any, data: Any, timeout: Any) -> int:
        if not self.xids:
            time.sleep(min(timeout.value, 20) / 1000)
            return TIMEOUT
        data._obj.device = ctypes.pointer(self.device)
        data._obj.eventType, data._obj.eventData = pynvml.nvmlEventTypeXidCriticalError, self.xids.pop()
        data._obj.gpuInstanceId = data._obj.computeInstanceId = 0xFFFFFFFF
        return 0

    def nvmlEventSetFree(self, events: Any) -> int:
        return 0


def test_the_source_understands_the_real_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", Library())
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    async def run() -> list[Observed]:
        source = Nvml(node="n", interval_s=0.01)
        await source.open(None)
        said: list[Observed] = []
        source._sampler._publish_ms = 0
        while not {"telemetry", "kernel"} <= {one.kind for one in said}:
            said += await source.read()
        await source.close()
        return said

    said = {one.kind: one.value for one in asyncio.run(run())}
    (gpu,) = msgspec.json.decode(said["inventory"], type=records.Inventory).gpus
    assert (gpu.uuid, gpu.bdf) == (UUID, "0000:1b:00")
    links = msgspec.json.decode(said["links"], type=records.LinkStatus)
    assert links.links == ["down", "up"] * 9
    fault = msgspec.json.decode(said["kernel"], type=records.KernelFault)
    assert (fault.code, fault.uuid, fault.gi) == (48, UUID, None)
    told = {id: values[0] for id, values in frames.decode(said["telemetry"]).columns() if values[0] == values[0]}
    assert told == {
        fields.POWER: 71.5,
        fields.POWER_VIOLATION: 1000,
        fields.THERMAL_VIOLATION: 1001,
        fields.MEMORY_TEMP: 52,
        fields.ECC_DBE_VOLATILE: 7,
        fields.FABRIC_MANAGER_STATUS: 2,
        fields.REMAPPED_CORRECTABLE: 0,
        fields.REMAPPED_UNCORRECTABLE: 1,
        fields.ROW_REMAP_PENDING: 2,
        fields.ROW_REMAP_FAILURE: 3,
        fields.NVLINK_CRC_FLIT[17]: 9,
    }
