"""This node's GPUs as its tools show them, for as long as a command is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from producers.blocking import Blocking
from producers.commands import holders
from producers.commands.holders import Holder
from producers.commands.tool import NotRun, run
from producers.driver import driver_gpus, uuid_at
from schemas.kernel_lines import canonical_bdf

T = TypeVar("T")

ASK_S = 20.0


class Programs(NamedTuple):
    """Where the tools are, and after how long they are killed."""

    nvidia_smi: str = "nvidia-smi"
    dcgmi: str = "dcgmi"
    reset_s: float = 60.0
    diagnose_s: float = 300.0


async def gpus(programs: Programs) -> dict[str, str]:
    """UUID -> PCI address: from the kernel, else from nvidia-smi. Empty where neither tells."""
    shown = await _looked(_shown)
    return shown or {
        uuid: address
        for uuid, bus in await _query(programs, "--query-gpu=uuid,pci.bus_id")
        if (address := canonical_bdf(bus))
    }


async def compute_processes(programs: Programs, uuid: str) -> list[Holder]:
    """What nvidia-smi lists as computing on a GPU; empty also where it does not answer."""
    rows = await _query(programs, "--query-compute-apps=gpu_uuid,pid,process_name", columns=3)
    return [Holder(int(pid), name) for gpu, pid, name in rows if gpu == uuid and pid.isdecimal()]


async def open_by(bdf: str) -> holders.Holders | None:
    """Who has the GPU open; None: the driver does not tell which device it is, or hangs."""
    return await _looked(lambda: _open_by(bdf))


def _shown() -> dict[str, str]:
    return {uuid: bdf for bdf, path in driver_gpus().items() if (uuid := uuid_at(path))}


def _open_by(bdf: str) -> holders.Holders | None:
    device = holders.device_of(bdf)
    return None if device is None else holders.holders_of(device)


async def _looked(function: Callable[[], T | None]) -> T | None:
    """What the driver's files say; None where it does not answer: reading them may hang as any call of it may."""
    try:
        async with asyncio.timeout(ASK_S):
            return await Blocking().call(function)
    except TimeoutError:
        return None


async def _query(programs: Programs, query: str, columns: int = 2) -> list[Sequence[str]]:
    try:
        ran = await run([programs.nvidia_smi, query, "--format=csv,noheader"], ASK_S)
    except NotRun:
        return []
    rows = [[part.strip() for part in line.split(",", columns - 1)] for line in ran.output.splitlines()]
    return [row for row in rows if len(row) == columns] if ran.status == 0 else []
