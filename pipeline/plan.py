"""What a run is made of, from its settings: which sources, on which clock, with which data directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageProblem
from pipeline.settings import Settings
from producers.catalog import open_source
from producers.fleet import START_MS
from producers.simulator import SPEED
from producers.source import Source, SourceError

DEFAULT_SOURCE = "simulator:64"
FILE_SOURCES = ("kernel-log:", "recording:", "exporter:")


class Plan(NamedTuple):
    """what: the sources, for people. data_dir: None = a temporary one."""

    sources: list[Source]
    what: str
    data_dir: Path | None


def plan(settings: Settings, start_ms: int = START_MS) -> Plan:
    """start_ms: when simulated fleets begin. Raises UsageProblem: a source that does not exist, or sources that
    cannot run together.
    """
    names = settings.sources or [DEFAULT_SOURCE]
    simulated = [name for name in names if name.startswith("simulator:")]
    if settings.speed is not None and not simulated:
        raise UsageProblem("--speed is for simulated fleets", "add --source simulator:N, or leave it out")
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise UsageProblem(f"source {twice[0]} is named twice", "name it once")
    speed = settings.speed or SPEED
    for name in names:
        _readable(name)
    try:
        sources = [_open(name, settings, speed, start_ms) for name in names]
    except SourceError as error:
        raise UsageProblem(str(error)) from None
    _one_clock(names, sources)
    return Plan(sources, _in_words(names, speed), _data_dir(settings, names))


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
        name == "kmsg" or "://" in name or (settings.follow and name.startswith("kernel-log:")) for name in names
    ]
    if all(endless):
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(home) / "gpu-vitals"
    return None
