"""What a run is made of, from its settings: which sources, on which clock, with which data directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageProblem
from pipeline.settings import Settings
from producers import machine
from producers.catalog import open_source
from producers.fleet import START_MS
from producers.machine import Machine
from producers.simulator import SPEED
from producers.source import Source, SourceError

DEFAULT_SOURCE = "simulator:64"
FILE_SOURCES = ("kernel-log:", "recording:", "exporter:", "nvlink-status:", "bandwidth:")
FOLLOWED = ("kernel-log:", "nvlink-status:", "bandwidth:")  # with --follow they have no end
LIVE_SOURCES = ("kmsg", "journal", "dcgm", "nvml")


class Plan(NamedTuple):
    """what: the sources, for people. data_dir: None = a temporary one."""

    sources: list[Source]
    what: str
    data_dir: Path | None


def plan(
    settings: Settings, start_ms: int = START_MS, *, simulate: bool = True, look: Callable[[], Machine] = machine.look
) -> Plan:
    """Where no source is named: what this machine has, else a simulated fleet.

    start_ms: when simulated fleets begin. simulate: False = only if one is named. look: finds what there is.
    Raises UsageProblem: a source that does not exist, sources that cannot run together, nothing to read.
    """
    names, found = _names(settings, simulate, look)
    simulated = [name for name in names if name.startswith("simulator:")]
    if settings.speed is not None and not simulated:
        raise UsageProblem("--speed is for simulated fleets", "add --source simulator:N, or leave it out")
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise UsageProblem(f"source {twice[0]} is named twice", "name it once")
    _one_teller(names)
    speed = settings.speed or SPEED
    for name in names:
        _readable(name)
    try:
        sources = [_open(name, settings, speed, start_ms) for name in names]
    except SourceError as error:
        raise UsageProblem(str(error)) from None
    _one_clock(names, sources)
    return Plan(sources, found + _in_words(names, speed), _data_dir(settings, names))


def _names(settings: Settings, simulate: bool, look: Callable[[], Machine]) -> tuple[list[str], str]:
    """The sources, and what is to be said of how they were found."""
    if settings.sources:
        return settings.sources, ""
    if simulate and settings.speed is not None:  # only a simulated fleet has a speed
        return [DEFAULT_SOURCE], ""
    there = look()
    if there.sources:
        return there.sources, ""
    if simulate:
        return [DEFAULT_SOURCE], "no GPU here: "
    raise UsageProblem(
        f"no GPU was found on this machine: {'; '.join(there.lacks)}",
        "name sources with --source, or simulator:8 to try; `gpu-vitals agent --check` says more",
    )


def _one_teller(names: Sequence[str]) -> None:
    """DCGM asks NVML itself: both would say the same of the same GPUs, at different times."""
    engine = next((name for name in names if name.partition(":")[0] == "dcgm"), None)
    if engine and "nvml" in names:
        raise UsageProblem(
            f"sources {engine} and nvml would tell the same fields of the same GPUs",
            "name one of them; DCGM tells more",
        )


def _open(name: str, settings: Settings, speed: float, start_ms: int) -> Source:
    return open_source(
        name, node=settings.node, cluster=settings.cluster, follow=settings.follow, speed=speed, start_ms=start_ms
    )


def _readable(name: str) -> None:
    """A file that cannot be read now is a typing error; later, the supervisor goes on trying."""
    kind, _, path = name.partition(":")
    if f"{kind}:" not in FILE_SOURCES or not path or "://" in path:
        return
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise UsageProblem(f"source {name}: {(error.strerror or str(error)).lower()}") from None


def _one_clock(names: Sequence[str], sources: Sequence[Source]) -> None:
    own = [name for name, source in zip(names, sources, strict=True) if source.owns_clock]
    if own and len(sources) > 1:
        other = next(name for name in names if name != own[0])
        raise UsageProblem(
            f"source {own[0]} says itself what time it is and cannot run beside {other}",
            "run them apart, each with its own --data-dir",
        )


def _in_words(names: Sequence[str], speed: float) -> str:
    if names[0].startswith("simulator:"):
        return f"simulated faulty fleet, {'in' if speed == 1 else f'{speed:g} x'} real time"
    return ", ".join(names)


def _data_dir(settings: Settings, names: Sequence[str]) -> Path | None:
    """Live sources go on with their history; what has an end, or its own time, does not mix with it unasked."""
    if settings.data_dir:
        return Path(settings.data_dir).expanduser()
    endless = [
        name in LIVE_SOURCES or "://" in name or (settings.follow and name.startswith(FOLLOWED)) for name in names
    ]
    if all(endless):
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(home) / "gpu-vitals"
    return None
