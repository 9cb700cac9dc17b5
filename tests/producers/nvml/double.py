"""A double of the module `pynvml` of nvidia-ml-py 13: its signatures, its shapes, its errors; GPUs as tests want them.

What it holds to: power comes in mW, violation times in ns; a field of a batch has a return code of its own; an unknown
function, field or link is an error, never a zero; page retirement is not supported where rows are remapped; a lost GPU
answers every call with error 15 and spoils event sets that it is registered in; Xids are told only from the
registration on; nothing works before nvmlInit and after as many nvmlShutdown.
"""

# ruff: noqa: N802, N803, N815 (the names are those of the module)

from __future__ import annotations

import ctypes
import threading
from collections import Counter, deque
from typing import Any

TEXTS = {
    1: "Uninitialized",
    2: "Invalid Argument",
    3: "Not Supported",
    4: "Insufficient Permissions",
    9: "Driver Not Loaded",
    10: "Timeout",
    12: "NVML Shared Library Not Found",
    13: "Function Not Found",
    15: "GPU is lost",
    18: "RM has detected an NVML/RM version mismatch.",
    999: "Unknown Error",
}
NONE = 0xFFFFFFFF
UINT, ULL, INT = 1, 3, 5  # value types
LINKS = 18


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return TEXTS.get(self.value, f"NVML Error with code {self.value}")


class _Union(ctypes.Union):
    _fields_ = [
        ("dVal", ctypes.c_double),
        ("uiVal", ctypes.c_uint),
        ("ulVal", ctypes.c_ulong),
        ("ullVal", ctypes.c_ulonglong),
        ("sllVal", ctypes.c_longlong),
        ("siVal", ctypes.c_int),
        ("usVal", ctypes.c_ushort),
    ]


class _FieldValue(ctypes.Structure):
    _fields_ = [
        ("fieldId", ctypes.c_uint32),
        ("scopeId", ctypes.c_uint32),
        ("timestamp", ctypes.c_int64),
        ("latencyUsec", ctypes.c_int64),
        ("valueType", ctypes.c_uint),
        ("nvmlReturn", ctypes.c_uint),
        ("value", _Union),
    ]


class _Violation(ctypes.Structure):
    _fields_ = [("referenceTime", ctypes.c_ulonglong), ("violationTime", ctypes.c_ulonglong)]


class _Device(ctypes.Structure):
    pass


_Handle = ctypes.POINTER(_Device)


class _EventData(ctypes.Structure):
    _fields_ = [
        ("device", _Handle),
        ("eventType", ctypes.c_ulonglong),
        ("eventData", ctypes.c_ulonglong),
        ("gpuInstanceId", ctypes.c_uint),
        ("computeInstanceId", ctypes.c_uint),
    ]


class _Fabric(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("status", ctypes.c_uint), ("state", ctypes.c_uint)]


class _Banks(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in ("max", "high", "partial", "low", "none")]


class _Sram(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("volatileCor", ctypes.c_ulonglong), ("bThresholdExceeded", ctypes.c_uint)]


class _Pci:
    def __init__(self, bus: str) -> None:
        self.busId = bus


class Gpu:
    """One GPU. told: what each function returns for it, an int error code wrapped in `Error` being raised.
    values: by field id, or by (field id, link): the type and the number.
    """

    def __init__(self, number: int) -> None:
        self.uuid = f"GPU-0000000{number}"
        self.bus = f"00000000:{number + 0x1A:02X}:00.0"
        self.lost = 0  # the error it answers with
        self.mig = 0
        self.remote: dict[int, str] = {}  # by link: the address of what is at the other end
        self.told: dict[str, Any] = {
            "PowerUsage": 350_123,
            "EnforcedPowerLimit": 700_000,
            "ClockInfo": {1: 1980, 2: 2619},
            "MaxClockInfo": {1: 1980, 2: 2619},
            "CurrentClocksEventReasons": 0x4,
            "TemperatureV": 41,
            "Temperature": 41,
            "MarginTemperature": 46,
            "Violation": {0: 5_000_000_000, 1: 7_000_000},
            "RemappedRows": (1, 2, 1, 0),
            "RowRemapperHistogram": _Banks(640, 0, 0, 2, 1),
            "SramThreshold": 1,
            "UnrepairableMemoryFlag_v1": 0,
            "RetiredPages": Error(3),
            "RetiredPagesPendingStatus": Error(3),
            "PcieReplayCounter": 6,
            "Fabric": (3, 0),
            "TemperatureThreshold": {2: 95},
            "PcieLink": {"MaxGeneration": 5, "MaxWidth": 16, "CurrGeneration": 4, "CurrWidth": 8},
        }
        self.values: dict[Any, Any] = {
            3: (ULL, 11),
            4: (ULL, 0),
            5: (ULL, 12),
            6: (ULL, 1),
            38: (ULL, 3),
            52: (ULL, 4),
            59: (ULL, 5),
            74: (ULL, 5_000_000_000),
            75: (ULL, 7_000_000),
            82: (UINT, 52),
            91: (UINT, LINKS),
            94: (UINT, 6),
            142: (ULL, 1),
            143: (ULL, 2),
            144: (ULL, 1),
            145: (ULL, 0),
            230: (UINT, 0),
        }
        for link in range(LINKS):
            self.values |= {(161, link): (ULL, 0), (162, link): (ULL, 0), (163, link): (ULL, link)}
            self.values[165, link] = (UINT, 1)


class Error:
    def __init__(self, code: int) -> None:
        self.code = code


class Nvml:
    """The module. missing: functions that this version of it, or the driver's library, does not have."""

    NVMLError = NVMLError
    c_nvmlGpuFabricInfoV_t = _Fabric
    c_nvmlEccSramErrorStatus_v1_t = _Sram
    nvmlEccSramErrorStatus_v1 = 0x1000068

    def __init__(self, gpus: int = 2, *, opening: int = 0, driver: str = "580.82.07") -> None:
        self.gpus = [Gpu(number) for number in range(gpus)]
        self.opening = opening  # the error of nvmlInit
        self.driver = driver
        self.opened = 0  # nvmlInit less nvmlShutdown
        self.sets = 0  # event sets that are not freed
        self.impatient = False  # waiting for events is over at once
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[Any, ...]] = []  # fields of the batches
        self.missing: set[str] = set()
        self._devices = [(_Handle(), ctypes.create_string_buffer(8)) for _ in self.gpus]
        self._handles: dict[int, Gpu] = {}
        self._happened = threading.Condition()
        self._answering = threading.Event()
        self._answering.set()
        self._events: dict[int, deque[_EventData]] = {}
        self._registered: dict[int, set[int]] = {}
        self._waiting: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "missing"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    # --- what tests do -------------------------------------------------------------------------------------

    def hang(self) -> None:
        """No call comes back before `answer`."""
        self._answering.clear()

    def answer(self) -> None:
        self._answering.set()

    def xid(self, gpu: int, code: int, gi: int = NONE, ci: int = NONE) -> None:
        with self._happened:
            handle = self._handle(gpu)
            pointer = ctypes.cast(handle, ctypes.c_void_p).value
            for events, registered in self._registered.items():
                if pointer in registered:
                    self._events[events].append(_EventData(handle, 0x8, code, gi, ci))
            self._happened.notify_all()

    # --- the module ----------------------------------------------------------------------------------------

    def nvmlInit(self) -> None:
        self._called("nvmlInit")
        if self.opening:
            raise NVMLError(self.opening)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self._use("nvmlShutdown")
        assert not self._waiting, "shut down while somebody waits for events"
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._use("nvmlSystemGetDriverVersion")
        return self.driver

    def nvmlDeviceGetCount(self) -> int:
        self._use("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        self._use("nvmlDeviceGetHandleByIndex")
        if not 0 <= index < len(self.gpus):
            raise NVMLError(2)
        if self.gpus[index].lost:
            raise NVMLError(self.gpus[index].lost)
        return self._handle(index)

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return self._gpu("nvmlDeviceGetUUID", handle).uuid

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:
        return _Pci(self._gpu("nvmlDeviceGetPciInfo", handle).bus)

    def nvmlDeviceGetName(self, handle: Any) -> str:
        self._gpu("nvmlDeviceGetName", handle)
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetSerial(self, handle: Any) -> str:
        return "16" + self._gpu("nvmlDeviceGetSerial", handle).uuid[-8:]

    def nvmlDeviceGetMigMode(self, device: Any) -> list[int]:
        return [self._gpu("nvmlDeviceGetMigMode", device).mig, 0]

    def nvmlDeviceGetClockInfo(self, handle: Any, type: int) -> int:
        return self._tell("nvmlDeviceGetClockInfo", handle, "ClockInfo")[type]

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, type: int) -> int:
        return self._tell("nvmlDeviceGetMaxClockInfo", handle, "MaxClockInfo")[type]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetCurrentClocksEventReasons", handle, "CurrentClocksEventReasons")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetCurrentClocksThrottleReasons", handle, "CurrentClocksEventReasons")

    def nvmlDeviceGetTemperatureV(self, handle: Any, sensor: int, version: int = 0x100000C) -> int:
        return self._tell("nvmlDeviceGetTemperatureV", handle, "TemperatureV")

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        return self._tell("nvmlDeviceGetTemperature", handle, "Temperature")

    def nvmlDeviceGetMarginTemperature(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetMarginTemperature", handle, "MarginTemperature")

    def nvmlDeviceGetTemperatureThreshold(self, handle: Any, threshold: int) -> int:
        return self._tell("nvmlDeviceGetTemperatureThreshold", handle, "TemperatureThreshold")[threshold]

    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetMaxPcieLinkGeneration", handle, "PcieLink")["MaxGeneration"]

    def nvmlDeviceGetMaxPcieLinkWidth(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetMaxPcieLinkWidth", handle, "PcieLink")["MaxWidth"]

    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetCurrPcieLinkGeneration", handle, "PcieLink")["CurrGeneration"]

    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetCurrPcieLinkWidth", handle, "PcieLink")["CurrWidth"]

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetPowerUsage", handle, "PowerUsage")

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetEnforcedPowerLimit", handle, "EnforcedPowerLimit")

    def nvmlDeviceGetViolationStatus(self, device: Any, perfPolicyType: int) -> Any:
        times = self._tell("nvmlDeviceGetViolationStatus", device, "Violation")
        return _Violation(1_000, times[perfPolicyType])

    def nvmlDeviceGetTotalEccErrors(self, handle: Any, errorType: int, counterType: int) -> int:
        return self._tell("nvmlDeviceGetTotalEccErrors", handle, "TotalEccErrors")[errorType, counterType]

    def nvmlDeviceGetRemappedRows(self, device: Any) -> tuple[int, int, int, int]:
        return self._tell("nvmlDeviceGetRemappedRows", device, "RemappedRows")

    def nvmlDeviceGetRetiredPages(self, device: Any, sourceFilter: int) -> list[int]:
        return self._tell("nvmlDeviceGetRetiredPages", device, "RetiredPages")[sourceFilter]

    def nvmlDeviceGetRetiredPagesPendingStatus(self, device: Any) -> int:
        return self._tell("nvmlDeviceGetRetiredPagesPendingStatus", device, "RetiredPagesPendingStatus")

    def nvmlDeviceGetRowRemapperHistogram(self, device: Any) -> Any:
        return self._tell("nvmlDeviceGetRowRemapperHistogram", device, "RowRemapperHistogram")

    def nvmlDeviceGetSramEccErrorStatus(self, device: Any, status: Any) -> int:
        told = status._obj
        if told.version != self.nvmlEccSramErrorStatus_v1:
            raise NVMLError(25)
        told.bThresholdExceeded = self._tell("nvmlDeviceGetSramEccErrorStatus", device, "SramThreshold")
        return 0

    def nvmlDeviceGetUnrepairableMemoryFlag_v1(self, device: Any) -> int:
        return self._tell("nvmlDeviceGetUnrepairableMemoryFlag_v1", device, "UnrepairableMemoryFlag_v1")

    def nvmlDeviceGetPcieReplayCounter(self, handle: Any) -> int:
        return self._tell("nvmlDeviceGetPcieReplayCounter", handle, "PcieReplayCounter")

    def nvmlDeviceGetNvLinkErrorCounter(self, device: Any, link: int, counter: int) -> int:
        return self._tell("nvmlDeviceGetNvLinkErrorCounter", device, ("NvLinkErrorCounter", link, counter))

    def nvmlDeviceGetNvLinkState(self, device: Any, link: int) -> int:
        return self._tell("nvmlDeviceGetNvLinkState", device, ("NvLinkState", link))

    def nvmlDeviceGetNvLinkRemotePciInfo(self, device: Any, link: int) -> Any:
        gpu = self._gpu("nvmlDeviceGetNvLinkRemotePciInfo", device)
        if link not in gpu.remote:
            raise NVMLError(3)
        return _Pci(gpu.remote[link])

    def nvmlDeviceGetGpuFabricInfoV(self, device: Any, gpuFabricInfo: Any) -> int:
        info = gpuFabricInfo._obj  # what byref() refers to
        info.state, info.status = self._tell("nvmlDeviceGetGpuFabricInfoV", device, "Fabric")
        return 0

    def nvmlDeviceGetFieldValues(self, handle: Any, fieldIds: Any) -> Any:
        gpu = self._gpu("nvmlDeviceGetFieldValues", handle)
        self.asked.append(tuple(fieldIds))
        values = (_FieldValue * len(fieldIds))()
        for value, id in zip(values, fieldIds, strict=True):
            told = gpu.values.get(id, Error(3))
            if isinstance(told, Error):
                value.nvmlReturn = told.code
                continue
            value.valueType, number = told
            setattr(value.value, {UINT: "uiVal", ULL: "ullVal", INT: "siVal"}[value.valueType], number)
        return values

    def nvmlEventSetCreate(self) -> int:
        self._use("nvmlEventSetCreate")
        self.sets += 1
        key = self.calls["nvmlEventSetCreate"]
        self._events[key], self._registered[key] = deque(), set()
        return key

    def nvmlDeviceRegisterEvents(self, handle: Any, eventTypes: int, eventSet: int) -> None:
        self._tell("nvmlDeviceRegisterEvents", handle, "RegisterEvents", 0)
        assert eventTypes == 0x8
        self._registered[eventSet].add(ctypes.cast(handle, ctypes.c_void_p).value or 0)

    def nvmlEventSetWait_v2(self, eventSet: int, timeoutms: int) -> Any:
        self._use("nvmlEventSetWait_v2")
        self._waiting.add(eventSet)
        try:
            with self._happened:
                events = self._events[eventSet]
                self._happened.wait_for(lambda: events, 0 if self.impatient else timeoutms / 1000)
                if any(self._handles[pointer].lost for pointer in self._registered[eventSet]):
                    raise NVMLError(15)
                if not events:
                    raise NVMLError(10)
                return events.popleft()
        finally:
            self._waiting.discard(eventSet)

    def nvmlEventSetFree(self, eventSet: int) -> None:
        self._use("nvmlEventSetFree")
        assert eventSet not in self._waiting, "freed while somebody waits"
        self.sets -= 1
        del self._events[eventSet], self._registered[eventSet]

    def _handle(self, index: int) -> Any:
        pointer = ctypes.cast(self._devices[index][1], _Handle)
        self._handles[ctypes.cast(pointer, ctypes.c_void_p).value or 0] = self.gpus[index]
        return pointer

    def _called(self, function: str) -> None:
        self.calls[function] += 1
        self._answering.wait()

    def _use(self, function: str) -> None:
        self._called(function)
        if not self.opened:
            raise NVMLError(1)

    def _gpu(self, function: str, handle: Any) -> Gpu:
        self._use(function)
        gpu = self._handles[ctypes.cast(handle, ctypes.c_void_p).value or 0]
        if gpu.lost:
            raise NVMLError(gpu.lost)
        return gpu

    def _tell(self, function: str, handle: Any, what: Any, otherwise: Any = None) -> Any:
        told = self._gpu(function, handle).told.get(what, Error(3) if otherwise is None else otherwise)
        if isinstance(told, Error):
            raise NVMLError(told.code)
        return told
