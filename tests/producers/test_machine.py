from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from producers import machine
from producers.dcgm import bindings
from producers.machine import look
from producers.nvml import library


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing on it, whatever this one has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(machine, "ENGINE", free.getsockname())
    monkeypatch.setattr(machine, "ENGINE_S", 60.0)  # nothing here hangs, however busy the machine
    monkeypatch.setattr(machine, "LIBRARY_S", 60.0)
    monkeypatch.setattr(bindings, "DIRECTORIES", (tmp_path / "bindings",))
    monkeypatch.delenv(bindings.OVERRIDE, raising=False)
    monkeypatch.setattr(library, "load", no_library)
    monkeypatch.setattr(machine, "open_device", refused(PermissionError(1, "Operation not permitted")))
    monkeypatch.setenv("PATH", str(tmp_path))


def no_library() -> Any:
    raise library.Missing("the package nvidia-ml-py is not installed", library.INSTALL)


def refused(error: OSError) -> Callable[[], int]:
    def device() -> int:
        raise error

    return device


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something listens where DCGM's engine does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(machine, "ENGINE", server.getsockname())
        yield


@pytest.fixture
def installed(tmp_path: Path) -> None:
    """DCGM's bindings."""
    (tmp_path / "bindings").mkdir()
    (tmp_path / "bindings" / "dcgm_agent.py").touch()


class Driver:
    """As much of NVML as counting takes. blocks: until `free` is set."""

    class NVMLError(Exception):
        value = 999

    def __init__(self, gpus: int, blocks: bool = False) -> None:
        self.free = threading.Event()
        self.open = 0
        self._gpus = gpus
        self.nvmlInit, self.nvmlDeviceGetCount, self.nvmlShutdown = self._init, self._count, self._shutdown
        if not blocks:
            self.free.set()

    def _init(self) -> None:
        assert self.free.wait(60.0)
        self.open += 1

    def _count(self) -> int:
        if self._gpus < 0:
            raise self.NVMLError("Unknown Error")
        return self._gpus

    def _shutdown(self) -> None:
        self.open -= 1


def with_driver(monkeypatch: pytest.MonkeyPatch, gpus: int, blocks: bool = False) -> Driver:
    driver = Driver(gpus, blocks)
    monkeypatch.setattr(library, "load", lambda: driver)
    return driver


@pytest.mark.usefixtures("engine", "installed")
def test_dcgm_is_chosen_where_its_engine_and_its_bindings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, 8)
    assert look().sources == ["dcgm"]


@pytest.mark.usefixtures("engine")
def test_without_the_bindings_the_driver_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = with_driver(monkeypatch, 8)
    found = look()
    assert found.sources == ["nvml"]
    assert "datacenter-gpu-manager" in found.lacks[0]
    assert driver.open == 0  # and let go of


@pytest.mark.usefixtures("installed")
def test_without_an_engine_the_driver_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, 8)
    assert look().sources == ["nvml"]


@pytest.mark.parametrize(("loaded", "sources"), [(True, ["nvml"]), (False, [])])
def test_a_driver_that_hangs_is_one_with_gpus_if_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, loaded: bool, sources: list[str]
) -> None:
    monkeypatch.setattr("producers.driver.driver_present", lambda: loaded)
    monkeypatch.setattr(machine, "LIBRARY_S", 0.1)
    driver = with_driver(monkeypatch, 8, blocks=True)
    assert look().sources == sources  # and not after the minute for which it hangs
    driver.free.set()


@pytest.mark.parametrize(("gpus", "why"), [(0, "the driver knows no GPU"), (-1, "unknown error")])
def test_a_driver_without_a_gpu_is_none(monkeypatch: pytest.MonkeyPatch, gpus: int, why: str) -> None:
    driver = with_driver(monkeypatch, gpus)
    found = look()
    assert found.sources == []
    assert any(why in each for each in found.lacks)
    assert driver.open == 0


@pytest.mark.parametrize(
    ("driver", "why"), [(False, "no NVIDIA driver"), (True, "nvml: the package nvidia-ml-py is not installed")]
)
def test_on_a_bare_machine_all_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, driver: bool, why: str
) -> None:
    monkeypatch.setattr("producers.driver.driver_present", lambda: driver)
    found = look()
    assert found.sources == []
    assert found.lacks == ["no DCGM engine at {}:{}".format(*machine.ENGINE), why]


def test_the_kernels_log_is_read_directly_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, 1)
    monkeypatch.setattr(machine, "open_device", lambda: os.open(os.devnull, os.O_RDONLY))
    assert look().sources == ["nvml", "kmsg"]


def test_else_by_the_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_driver(monkeypatch, 1)
    (tmp_path / "journalctl").touch(mode=0o755)
    found = look()
    assert found.sources == ["nvml", "journal"]
    assert found.lacks[-1] == "/dev/kmsg: operation not permitted"


def test_looking_loads_nothing_heavy() -> None:
    script = "import sys; from producers.machine import look; look(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert not {"numpy", "faust", "aiokafka", "prometheus_client"} & set(eval(done.stdout))
