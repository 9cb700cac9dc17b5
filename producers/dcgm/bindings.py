"""DCGM's own Python bindings, found where its package puts them, and the library behind them."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from producers.source import SourceError

OVERRIDE = "GPU_VITALS_DCGM_BINDINGS"
DIRECTORIES = (
    Path("/usr/share/datacenter-gpu-manager-4/bindings/python3"),  # 4.0 and newer
    Path("/usr/local/dcgm/bindings/python3"),  # 3.x
)
GET_IT = "install the package datacenter-gpu-manager-4-core (DCGM 3: datacenter-gpu-manager)"
LIBRARY_NOT_FOUND = -25


class Missing(SourceError):
    """There are no bindings on this machine. fix: how to get them."""

    fix = f"{GET_IT}, or name the directory of the bindings in {OVERRIDE}"

    def __init__(self) -> None:
        super().__init__("DCGM's Python bindings are not on this machine")

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.fix}"


class Bindings(NamedTuple):
    """The flat modules `dcgm_agent` and `dcgm_structs`, and the class of their errors (which have a `value`).

    Nothing above them is used: the objects of `pydcgm` call the engine when they are collected, in whatever thread
    that happens, and an engine that hangs would stop it.
    """

    agent: Any
    structs: Any
    error: type[Exception]
    where: Path


def directory() -> Path:
    """Where the bindings are. Raises SourceError, with what to do."""
    given = os.environ.get(OVERRIDE)
    candidates = (Path(given),) if given else DIRECTORIES
    for candidate in candidates:
        if (candidate / "dcgm_agent.py").is_file():
            return candidate
    if given:
        raise SourceError(f"{OVERRIDE}={given}: there is no dcgm_agent.py; name the directory that holds it")
    raise Missing


def load() -> Bindings:
    """The bindings with their library loaded; blocks. Raises SourceError."""
    where = directory()
    if str(where) not in sys.path:
        sys.path.append(str(where))  # last: its flat names must not hide anybody else's
    try:
        agent, structs = importlib.import_module("dcgm_agent"), importlib.import_module("dcgm_structs")
    except Exception as error:  # whatever another version of Python or of DCGM makes of it
        raise SourceError(f"{where}: the bindings cannot be imported: {type(error).__name__}: {error}") from error
    try:
        structs._dcgmInit()
        agent.dcgmInit()
    except structs.DCGMError as error:
        if error.value == LIBRARY_NOT_FOUND:
            why = f"the library libdcgm is not on this machine, or not where it is looked for: {GET_IT}"
        else:
            why = f"the library libdcgm cannot be used: {error}"
        raise SourceError(f"{where}: {why}") from error
    return Bindings(agent, structs, structs.DCGMError, where)
