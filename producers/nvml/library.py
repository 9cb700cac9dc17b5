"""The driver's library: finding it, opening it, and what its errors mean for us and for people."""

from __future__ import annotations

import importlib
from typing import Any

from producers.source import SourceError
from schemas import sources

MODULE = "pynvml"  # of the distribution nvidia-ml-py
INSTALL = "pip install 'gpu-vitals[nvml]'"

UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 1, 2, 3, 4
DRIVER_NOT_LOADED, TIMEOUT, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 10, 12, 13
GPU_IS_LOST, RESET_REQUIRED, OPERATING_SYSTEM, MISMATCH = 15, 16, 17, 18
VGPU_ECC_NOT_SUPPORTED, ARGUMENT_VERSION, DEPRECATED, GPU_NOT_FOUND, UNKNOWN = 22, 25, 26, 28, 999

# This driver or this GPU does not tell it, and asking again would not change that.
NEVER = frozenset(
    {
        INVALID_ARGUMENT,
        NOT_SUPPORTED,
        NO_PERMISSION,
        FUNCTION_NOT_FOUND,
        VGPU_ECC_NOT_SUPPORTED,
        ARGUMENT_VERSION,
        DEPRECATED,
    }
)
LOST = frozenset({GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND})  # this GPU tells nothing any more
CLOSED = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, MISMATCH})  # nothing can be read before it is opened anew

# Not MISMATCH: what had the old driver open goes on with it.
CAUSES = {
    DRIVER_NOT_LOADED: sources.DRIVER,
    NO_PERMISSION: sources.PERMISSION,
    OPERATING_SYSTEM: sources.PERMISSION,
    TIMEOUT: sources.HUNG,
    GPU_IS_LOST: sources.LOST,
    RESET_REQUIRED: sources.LOST,
}

LIBRARY_FIX = (
    "install the driver's libnvidia-compute package (libnvidia-ml.so.1); in a container, let the NVIDIA runtime mount "
    "it (NVIDIA_DRIVER_CAPABILITIES=utility)"
)
FIXES = {
    NO_PERMISSION: "run as a user who may open /dev/nvidiactl and /dev/nvidia*",
    DRIVER_NOT_LOADED: "load the driver (modprobe nvidia), and see the kernel log for why it is not",
    LIBRARY_NOT_FOUND: LIBRARY_FIX,
    OPERATING_SYSTEM: "let this process open /dev/nvidiactl and /dev/nvidia*",
    GPU_IS_LOST: "see the kernel log for Xid 79; reboot the node",
    RESET_REQUIRED: "stop what uses it, and reset it (nvidia-smi --gpu-reset)",
    MISMATCH: "the driver was updated while it was loaded: reload it, or reboot the node",
    UNKNOWN: "see the kernel log; in a container, access to /dev/nvidia* may have been taken away: restart it",
}


class Missing(SourceError):
    """The bindings or the driver's library are not on this machine. fix: how to get them."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"nvml: {what}; {fix}")
        self.what = what
        self.fix = fix


def load() -> Any:
    """The module `pynvml`, which not every installation has. Raises Missing."""
    try:
        nvml = importlib.import_module(MODULE)
    except ImportError:
        raise Missing("the package nvidia-ml-py is not installed", INSTALL) from None
    if not hasattr(getattr(nvml, "c_nvmlFieldValue_t", None), "scopeId"):
        raise Missing(f"the module {MODULE} is of an older package than nvidia-ml-py 12", INSTALL)
    return nvml


def start(nvml: Any) -> None:
    """Open the library; every call is to be followed by one of `nvml.nvmlShutdown`. Raises SourceError."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value == LIBRARY_NOT_FOUND:
            raise Missing("the driver's library libnvidia-ml.so.1 is not on this machine", LIBRARY_FIX) from error
        raise SourceError(f"nvml: cannot be opened: {words(error)}", cause=CAUSES.get(error.value, "")) from error


def words(error: Any) -> str:
    """An NVML error in words, with how to mend it where that is known."""
    code = getattr(error, "value", None)
    said = str(error).rstrip(".").lower() or f"error {code}"
    fix = FIXES.get(code) if isinstance(code, int) else None
    return f"{said} (nvml error {code})" + (f"; {fix}" if fix else "")


def ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """What `nvml.function(*arguments)` returns; None where this driver or GPU does not tell it.

    Raises the other NVMLErrors: they say that something is wrong now.
    """
    try:
        return getattr(nvml, function)(*arguments)
    except AttributeError:  # bindings that are older than the function
        if hasattr(nvml, function):
            raise
        return None
    except nvml.NVMLError as error:
        if error.value in NEVER:
            return None
        raise


def text(value: str | bytes | None) -> str:
    """Old bindings hand out bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
