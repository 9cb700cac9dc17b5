"""Which processes have a GPU open: it cannot be reset while there is one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from producers.driver import driver_gpus

PROC = Path("/proc")
DEVICES = "/dev/nvidia"
MINOR = re.compile(r"^Device Minor:\s*(\d+)\s*$", re.MULTILINE)
NAMED_MAX = 20  # in words
MONITORS = ("nv-hostengine", "nvidia-persiste", "dcgm-exporter")  # as the kernel cuts names: 15 characters


class Holder(NamedTuple):
    """name: as the kernel calls it, at most 15 characters."""

    pid: int
    name: str


class Holders(NamedTuple):
    """unseen: processes that this user may not look into; any of them may hold it."""

    found: list[Holder]
    unseen: int


def device_of(bdf: str) -> str | None:
    """The device file of a GPU, as /dev/nvidia0; None: the driver does not tell."""
    shown = driver_gpus().get(bdf)
    try:
        minor = MINOR.search((shown / "information").read_text(errors="replace")) if shown else None
    except OSError:
        return None
    return f"{DEVICES}{minor[1]}" if minor else None


def holders_of(device: str) -> Holders:
    """Processes that have it open now, those of containers included."""
    found, unseen = [], 0
    for process in PROC.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if any(_target(link) == device for link in (process / "fd").iterdir()):
                found.append(Holder(int(process.name), _name(process)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except PermissionError:
            unseen += 1
    return Holders(sorted(found), unseen)


def in_words(holders: Iterable[Holder]) -> str:
    listed = [f"{each.name} ({each.pid})" for each in holders]
    more = len(listed) - NAMED_MAX
    return ", ".join(listed[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
