"""Xids as NVML tells them: those that come while somebody waits."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from producers.host import now_ms
from producers.nvml.library import LOST, NEVER, TIMEOUT, ask, text, words
from schemas.kernel_lines import canonical_bdf
from schemas.records import Gpu

XID = 0x8  # the event type
AT_ONCE = 1000  # Xids taken by one wait
NO_INSTANCE = 0xFFFFFFFF


class Happened(NamedTuple):
    """An Xid. gi, ci: of the MIG instance that it concerns."""

    ts: int
    gpu: Gpu
    code: int
    gi: int | None
    ci: int | None


class Events:
    """The event set of an opened library. `wait` runs in a thread of its own; what it puts into `told`
    may be taken from another.

    silent: GPUs whose Xids NVML does not tell. trouble: why Xids may be missed now.
    """

    def __init__(
        self, nvml: Any, handles: dict[Gpu, Any], told: deque[Happened], now: Callable[[], int] = now_ms
    ) -> None:
        self.told = told
        self.silent: list[Gpu] = []
        self.trouble = ""
        self._nvml = nvml
        self._handles = handles
        self._gpus = {_pointer(handle): gpu for gpu, handle in handles.items()}
        self._now = now
        self._set: Any = None
        self._unregistered: list[Gpu] = []

    @property
    def any(self) -> bool:
        """Whether there is anything to wait for."""
        return len(self.silent) < len(self._handles)

    def wait(self, wait_ms: int) -> None:
        """Until Xids have come, at most `wait_ms`. Raises nothing of NVML's: see `trouble`."""
        trouble = ""
        try:
            if self._set is None:
                self._set = self._nvml.nvmlEventSetCreate()
                self._unregistered = [gpu for gpu in self._handles if gpu not in self.silent]
            trouble = self._register()
            for _ in range(AT_ONCE):
                event = self._nvml.nvmlEventSetWait_v2(self._set, wait_ms)
                self.told.append(self._happened(event))
                wait_ms = 0
        except self._nvml.NVMLError as error:
            if error.value != TIMEOUT:
                # A set with a GPU that is lost tells nothing of the others either: the next one is without it.
                trouble = f"Xids may be missed: {words(error)}"
                self.close()
        self.trouble = trouble

    def close(self) -> None:
        events, self._set = self._set, None
        if events is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlEventSetFree(events)

    def _register(self) -> str:
        """Those GPUs that are not registered yet, as far as they let us; says what is wrong beside lost GPUs."""
        trouble, waiting, self._unregistered = "", self._unregistered, []
        for gpu in waiting:
            try:
                self._nvml.nvmlDeviceRegisterEvents(self._handles[gpu], XID, self._set)
            except self._nvml.NVMLError as error:
                if error.value in NEVER:
                    self.silent.append(gpu)
                    continue
                self._unregistered.append(gpu)
                if error.value not in LOST:
                    trouble = f"Xids of {gpu.bdf or gpu.uuid} may be missed: {words(error)}"
        return trouble

    def _happened(self, event: Any) -> Happened:
        gpu = self._gpus.get(_pointer(event.device)) or self._who(event.device)
        return Happened(
            self._now(), gpu, int(event.eventData), _instance(event.gpuInstanceId), _instance(event.computeInstanceId)
        )

    def _who(self, device: Any) -> Gpu:
        """A GPU that was not there when the library was opened, as far as it says who it is."""
        try:
            pci = ask(self._nvml, "nvmlDeviceGetPciInfo", device)
            uuid = text(ask(self._nvml, "nvmlDeviceGetUUID", device))
        except self._nvml.NVMLError:
            return Gpu()
        return Gpu(uuid=uuid, bdf=canonical_bdf(text(getattr(pci, "busId", None))) or "")


def _pointer(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _instance(id: int) -> int | None:
    return None if id == NO_INSTANCE else int(id)
