"""Who a GPU is, by NVML."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from producers.nvml.library import ask, text
from schemas.fields import LINKS
from schemas.kernel_lines import canonical_bdf
from schemas.records import GpuInfo


def identify(nvml: Any, handle: Any) -> GpuInfo:
    """UUID, address, model, serial and MIG mode. Raises NVMLError: the GPU does not say who it is."""
    return GpuInfo(
        uuid=text(nvml.nvmlDeviceGetUUID(handle)),
        bdf=_address(nvml.nvmlDeviceGetPciInfo(handle)),
        model=text(ask(nvml, "nvmlDeviceGetName", handle)),
        serial=text(ask(nvml, "nvmlDeviceGetSerial", handle)),
        mig=mig_mode(nvml, handle),
    )


def mig_mode(nvml: Any, handle: Any) -> bool:
    """Whether it is on now; what is pending comes with a reset."""
    current, _ = ask(nvml, "nvmlDeviceGetMigMode", handle) or (0, 0)
    return bool(current)


def with_peers(nvml: Any, gpus: dict[str, GpuInfo], handles: dict[str, Any]) -> dict[str, GpuInfo]:
    """`gpus` by address, with the NVLinks that join them directly. Behind a switch there are none."""
    found = {}
    for bdf, info in gpus.items():
        joined: Counter[str] = Counter()
        for link in range(LINKS) if bdf in handles else ():
            try:
                other = gpus.get(_address(ask(nvml, "nvmlDeviceGetNvLinkRemotePciInfo", handles[bdf], link)))
            except nvml.NVMLError:  # down now
                continue
            if other:
                joined[other.uuid] += 1
        found[bdf] = msgspec.structs.replace(info, peers=dict(joined))
    return found


def _address(pci: Any) -> str:
    return canonical_bdf(text(getattr(pci, "busId", None))) or ""
