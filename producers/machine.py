"""What there is to read on this machine, found in a moment: the sources of who names none."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from typing import NamedTuple

from producers.kmsg import open_device
from producers.source import SourceError

ENGINE = ("127.0.0.1", 5555)
ENGINE_S = 0.2
LIBRARY_S = 0.1  # a driver that hangs blocks for minutes
JOURNAL = "journalctl"


class Machine(NamedTuple):
    """sources: as `--source` takes them; none without a GPU. lacks: in words, why not others."""

    sources: list[str]
    lacks: list[str]


def look() -> Machine:
    """The best source of telemetry, and one of kernel messages: only with a GPU the kernel has something to say."""
    lacks: list[str] = []
    telemetry = dcgm(lacks) or nvml(lacks)
    if telemetry is None:
        return Machine([], lacks)
    kernel = kernel_messages(lacks)
    return Machine([telemetry, *([kernel] if kernel else [])], lacks)


def dcgm(lacks: list[str]) -> str | None:
    """Something listens where the engine does, and the bindings to talk to it are here."""
    from producers.dcgm import bindings

    try:
        socket.create_connection(ENGINE, timeout=ENGINE_S).close()
    except OSError:
        host, port = ENGINE
        lacks.append(f"no DCGM engine at {host}:{port}")
        return None
    try:
        bindings.directory()
    except SourceError as error:
        lacks.append(str(error))
        return None
    return "dcgm"


def nvml(lacks: list[str]) -> str | None:
    """The driver's library says that there are GPUs, or is so busy with them that it says nothing yet."""
    from producers.driver import driver_present
    from producers.nvml import library

    found: list[int | str] = []

    def count() -> None:
        try:
            module = library.load()
            library.start(module)
        except library.Missing as missing:
            found.append(f"nvml: {missing.what}" if driver_present() else "no NVIDIA driver")
            return
        except SourceError as error:
            found.append(str(error))
            return
        try:
            found.append(int(module.nvmlDeviceGetCount()))
        except module.NVMLError as error:
            found.append(f"nvml: {library.words(error)}")
        module.nvmlShutdown()

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    thread.join(LIBRARY_S)
    answer = found[0] if found else None
    if answer == 0:
        lacks.append("nvml: the driver knows no GPU")
    elif isinstance(answer, str):
        lacks.append(answer)
    elif answer or driver_present():
        return "nvml"
    else:
        lacks.append("no NVIDIA driver")
    return None


def kernel_messages(lacks: list[str]) -> str | None:
    try:
        os.close(open_device())
        return "kmsg"
    except OSError as error:
        lacks.append(f"/dev/kmsg: {(error.strerror or str(error)).lower()}")
    if shutil.which(JOURNAL):
        return "journal"
    lacks.append(f"{JOURNAL}: not found")
    return None
