"""Where an agent's spool is, and that it is nobody else's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pipeline.errors import UsageProblem

SYSTEM = Path("/var/lib/gpu-vitals/agent")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def directory(given: str | None) -> Path:
    """`given`; else the machine's, where this user may write there; else the user's own."""
    if given:
        return Path(given).expanduser()
    nearest = next(each for each in (SYSTEM, *SYSTEM.parents) if each.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return SYSTEM
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "gpu-vitals" / "agent"


def boot_id() -> str:
    """Of the running kernel; empty where it does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def locked(directory: Path) -> int:
    """The directory is this process's until the descriptor is closed. Raises UsageProblem and OSError."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageProblem(
            f"{directory}: another agent uses this spool", "one agent is enough for a node; else name another spool_dir"
        ) from None
    return lock
