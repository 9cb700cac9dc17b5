"""NVML opened: its GPUs, and what they all say at one moment. Everything here may block: it runs in a thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from producers.driver import boot_id, driver_gpus, driver_load, uuid_at
from producers.host import now_ms
from producers.nvml.device import Device
from producers.nvml.events import Events, Happened
from producers.nvml.inventory import identify, with_peers
from producers.nvml.library import CAUSES, start, text, words
from producers.source import SourceError
from producers.watched import WATCHED
from schemas import sources
from schemas.records import GpuInfo

CHECK_S = 30.0  # from one look at what rarely changes to the next
RENEW_S = 300.0  # before a GPU that does not answer is looked for anew
NOT_THERE = "it does not answer: see the kernel log; reset it, or reboot the node"


class NoGpu(SourceError):
    """The library is there, and there is no GPU."""


class Session:
    """known: GPUs of an earlier session. Those of them that cannot be opened now are kept, blank.
    xids: where those that come are put. clock: seconds that never step.

    `outdated` says that opening it anew may show more: GPUs do not answer, or the driver holds others.
    `nameless`: how many GPUs cannot be opened, and nobody knows which they are.
    Raises SourceError: NVML cannot be opened.
    """

    def __init__(
        self,
        nvml: Any,
        watched: Iterable[int] = WATCHED,
        known: Sequence[GpuInfo] = (),
        xids: deque[Happened] | None = None,
        now: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outdated = False
        self.nameless = 0
        self._nvml = nvml
        self._watched = tuple(watched)
        self._now = now
        self._clock = clock
        self._opened_at = self._checked_at = clock()
        self._held = driver_gpus()
        start(nvml)
        try:
            self.boot, self.driver_load = boot_id(), driver_load()
            self.driver = text(nvml.nvmlSystemGetDriverVersion())
            self.devices = self._find(known)
        except BaseException as error:
            nvml.nvmlShutdown()
            if isinstance(error, nvml.NVMLError):
                raise SourceError(f"nvml: {words(error)}", cause=CAUSES.get(error.value, "")) from error
            raise
        handles = {device.gpu: device.handle for device in self.devices if device.handle is not None}
        self.events = Events(nvml, handles, deque() if xids is None else xids, now)
        self.events.wait(0)  # Xids are told from now on

    def close(self) -> None:
        """Let go of the driver: nobody may be waiting in `events`."""
        self.events.close()
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def sample(self) -> tuple[int, dict[int, list[float | None]]]:
        """The node's time, and each field's values in the order of `devices`. Raises SourceError."""
        ts, at = self._now(), self._clock()
        if at - self._checked_at >= CHECK_S:
            self._checked_at = at
            self._check(at)
        rows = [device.read(at) for device in self.devices]
        return ts, {field: [row.get(field) for row in rows] for field in self._watched}

    def _check(self, now: float) -> None:
        troubled = self.nameless or any(device.trouble for device in self.devices)
        others = driver_gpus().keys() != self._held.keys()
        self.outdated = others or bool(troubled and now - self._opened_at >= RENEW_S)
        for device in self.devices:
            device.check()

    def _find(self, known: Sequence[GpuInfo]) -> list[Device]:
        """All GPUs: those that answer, those that did, and those of which only the driver knows."""
        handles: dict[str, Any] = {}
        found: dict[str, GpuInfo] = {}
        mute: list[str] = []  # why
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                info = identify(self._nvml, handle)
            except self._nvml.NVMLError as error:
                mute.append(words(error))
                continue
            found[info.bdf], handles[info.bdf] = info, handle
        found = with_peers(self._nvml, found, handles)
        devices = [
            Device(self._nvml, info, handles[bdf], self._watched, turn=turn)
            for turn, (bdf, info) in enumerate(found.items())
        ]
        uuids = {info.uuid for info in found.values()}
        missing = [info for info in known if info.bdf not in found and info.uuid not in uuids]
        strange = sorted(self._held.keys() - found.keys() - {info.bdf for info in missing})
        if len(mute) == len(missing) + len(strange):  # else not all of them are ours: a container sees only some
            missing += [GpuInfo(uuid=uuid_at(self._held[bdf]), bdf=bdf) for bdf in strange]
        why = mute[0] if len(set(mute)) == 1 else NOT_THERE
        devices += [Device(self._nvml, info, None, (), why) for info in missing]
        self.nameless = max(0, len(mute) - len(missing))
        if not devices and mute:
            raise SourceError(f"nvml: no GPU can be opened: {mute[0]}", cause=sources.LOST)
        if not devices:
            raise NoGpu("nvml: the driver shows no GPU", cause=sources.DRIVER)
        return sorted(devices, key=lambda device: device.info.bdf)
