"""What the kernel shows of the driver, without its library."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.kernel_lines import canonical_bdf

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MODULE = Path("/sys/module/nvidia")
GPUS = Path("/proc/driver/nvidia/gpus")
DEVICE = Path("/dev/nvidiactl")
UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-f-]{36})\s*$", re.MULTILINE)


def boot_id() -> str:
    """Another one after each start of the machine; empty if it cannot be told."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def driver_load() -> str:
    """Another one each time that the driver is loaded; empty if it cannot be told.

    The kernel numbers the directory of a module when it loads it, and not anew before it loads it again.
    """
    try:
        return f"module-{MODULE.stat().st_ino}"
    except OSError:
        return ""


def driver_present() -> bool:
    """Whether there are traces of a loaded driver."""
    return MODULE.exists() or DEVICE.exists() or GPUS.exists()


def driver_gpus() -> dict[str, Path]:
    """Where the driver shows each GPU that it holds, by PCI address; those that it has lost included."""
    try:
        shown = list(GPUS.iterdir())
    except OSError:
        return {}
    return {bdf: path for path in shown if (bdf := canonical_bdf(path.name))}


def uuid_at(shown: Path) -> str:
    """The UUID of the GPU that the driver shows there; empty if it does not know it (any more)."""
    try:
        found = UUID.search((shown / "information").read_text(errors="replace"))
    except OSError:
        return ""
    return found[1] if found else ""
