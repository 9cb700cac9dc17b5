"""This node's GPUs as its tools show them, for as long as a command is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from producers.commands import holders
from producers.commands.holders import Holder
from producers.commands.tool import NotRun, run
from producers.driver import driver_gpus, uuid_at
from schemas.kernel_lines import canonical_bdf

ASK_S = 20.0


class Programs(NamedTuple):
    """Where the tools are, and after how long they are killed."""

    nvidia_smi: str = "nvidia-smi"
    dcgmi: str = "dcgmi"
    reset_s: float = 60.0
    diagnose_s: float = 300.0


async def gpus(programs: Programs) -> dict[str, str]:
    """UUID -> PCI address: from the kernel, else from nvidia-smi. Empty where neither tells."""
    shown = {uuid: bdf for bdf, path in driver_gpus().items() if (uuid := uuid_at(path))}
    return shown or {
        uuid: address
        for uuid, bus in await _query(programs, "--query-gpu=uuid,pci.bus_id")
        if (address := canonical_bdf(bus))
    }


async def compute_processes(programs: Programs, uuid: str) -> list[Holder]:
    """What nvidia-smi lists as computing on a GPU; empty also where it does not answer."""
    rows = await _query(programs, "--query-compute-apps=gpu_uuid,pid,process_name", columns=3)
    return [Holder(int(pid), name) for gpu, pid, name in rows if gpu == uuid and pid.isdecimal()]


def open_by(bdf: str) -> holders.Holders | None:
    """Who has the GPU open; None: the driver does not tell which device it is."""
    device = holders.device_of(bdf)
    return None if device is None else holders.holders_of(device)


async def _query(programs: Programs, query: str, columns: int = 2) -> list[Sequence[str]]:
    try:
        ran = await run([programs.nvidia_smi, query, "--format=csv,noheader"], ASK_S)
    except NotRun:
        return []
    rows = [[part.strip() for part in line.split(",", columns - 1)] for line in ran.output.splitlines()]
    return [row for row in rows if len(row) == columns] if ran.status == 0 else []
