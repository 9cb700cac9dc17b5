"""What a check of the node says of NVML."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from producers.blocking import Blocking
from producers.driver import driver_present
from producers.finding import Finding
from producers.nvml import library
from producers.nvml.device import Device
from producers.nvml.session import NoGpu, Session
from producers.source import SourceError
from producers.watched import WATCHED, in_words
from schemas.counts import counted

WHAT = "nvml"
TIMEOUT_S = 30.0
KERNEL_LOG = "read the kernel's log too (source kmsg)"


async def findings(load: Callable[[], Any] = library.load, *, timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """Whether NVML can be used here, which GPUs it shows, and what it does not tell of them."""
    try:
        async with asyncio.timeout(timeout_s):
            return await Blocking().call(lambda: _look(load))
    except TimeoutError:
        return [
            Finding(
                WHAT,
                "error",
                f"the driver has not answered within {timeout_s:g} s",
                "see the kernel log for Xids; reset the GPU, or reboot the node",
            )
        ]


def _look(load: Callable[[], Any]) -> list[Finding]:
    try:
        session = Session(load())
    except library.Missing as missing:
        if not driver_present():
            return [Finding(WHAT, "absent", "no NVIDIA driver on this machine")]
        return [Finding(WHAT, "warning", missing.what, missing.fix)]
    except NoGpu:
        return [Finding(WHAT, "absent", "the driver is there, and shows no GPU")]
    except SourceError as error:
        return [_failed(WHAT, str(error).removeprefix("nvml: "))]
    try:
        session.sample()
        return _found(session)
    except SourceError as error:
        return [_failed(WHAT, str(error).removeprefix("nvml: "))]
    finally:
        session.close()


def _failed(what: str, why: str) -> Finding:
    found, _, fix = why.partition("; ")
    return Finding(what, "error", found, fix)


def _found(session: Session) -> list[Finding]:
    models = sorted({device.info.model for device in session.devices if device.info.model})
    count = len(session.devices)
    shown = f"{counted(count, 'GPU')} ({', '.join(models) or 'model unknown'}), driver {session.driver}"
    found = [Finding(WHAT, "ok", shown)]
    for device in session.devices:
        if device.trouble:
            found.append(_failed(f"{WHAT} {device.info.bdf or device.info.uuid}", device.trouble))
    if session.nameless:
        found.append(
            Finding(WHAT, "error", f"{counted(session.nameless, 'more GPU')} cannot be opened", "see the kernel log")
        )
    found += _fields(session.devices)
    if session.events.trouble:
        found.append(Finding(f"{WHAT} xids", "warning", session.events.trouble, KERNEL_LOG))
    elif session.events.silent:
        silent = ", ".join(gpu.bdf or gpu.uuid for gpu in session.events.silent)
        found.append(Finding(f"{WHAT} xids", "warning", f"not told for {silent}", KERNEL_LOG))
    return found


def _fields(devices: list[Device]) -> list[Finding]:
    """The fields that no GPU tells which answers. Nothing can be done about them: they differ from model to model."""
    answering = [device for device in devices if device.handle is not None and not device.trouble]
    if not answering:
        return []
    untold = [id for id in WATCHED if not any(device.tells(id) for device in answering)]
    lacking = f"; not told by this driver and model: {in_words(untold)}" if untold else ""
    return [Finding(f"{WHAT} fields", "ok", f"{len(WATCHED) - len(untold)} of {len(WATCHED)} fields{lacking}")]
