"""The double of DCGM, or a real engine: GPU_VITALS_TEST_DCGM=HOST:PORT."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producers import supervisor
from producers.dcgm import bindings, source

DOUBLE = Path(__file__).parent / "double"
FLAT = ("dcgm_agent", "dcgm_structs", "host_engine")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_S", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_MAX_S", 0.05)
    monkeypatch.setattr(source, "CHECK_S", 0.0)
    monkeypatch.setattr(source, "LOOK_S", 0.0)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of host engines; the bindings that lead to them are found as real ones are."""
    monkeypatch.setenv(bindings.OVERRIDE, str(DOUBLE))
    monkeypatch.setattr(sys, "path", [*sys.path, str(DOUBLE)])
    for name in FLAT:
        sys.modules.pop(name, None)
    import host_engine

    yield host_engine
    for engine in host_engine.ENGINES.values():
        engine.kill()  # lets go of whoever hangs in it
    for name in FLAT:
        sys.modules.pop(name, None)


@pytest.fixture
def reachable(request: pytest.FixtureRequest) -> str:
    """The address of an engine with GPUs, to be read only: the real one if there is one."""
    if given := os.environ.get("GPU_VITALS_TEST_DCGM"):
        return given
    request.getfixturevalue("double").HostEngine()
    return ""
