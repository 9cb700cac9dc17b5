from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.finding import Finding
from producers.nvml import library
from producers.nvml.findings import findings
from tests.producers.nvml.double import Error, Nvml


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without traces of a driver."""
    for name in ("GPUS", "MODULE", "DEVICE"):
        monkeypatch.setattr(f"producers.driver.{name}", tmp_path / name)
    return tmp_path


def look(load: Callable[[], Any], **options: Any) -> list[Finding]:
    return asyncio.run(findings(load, **options))


def missing() -> Any:
    raise library.Missing("the package nvidia-ml-py is not installed", library.INSTALL)


def test_a_node_where_all_is_well() -> None:
    nvml = Nvml()
    assert look(lambda: nvml) == [
        Finding("nvml", "ok", "2 GPUs (NVIDIA H100 80GB HBM3), driver 580.82.07"),
        Finding(
            "nvml fields",
            "ok",
            "52 of 58 fields; not told by this driver and model: RETIRED_SBE, RETIRED_DBE, RETIRED_PENDING, "
            "NVLINK_COUNT_RX_ERRORS, NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS, "
            "NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS",
        ),
    ]
    assert (nvml.opened, nvml.sets) == (0, 0)


def test_an_old_gpu_tells_fewer_fields() -> None:
    nvml = Nvml(1)
    nvml.gpus[0].values = {}
    nvml.gpus[0].told = {"PowerUsage": 70_000, "RegisterEvents": Error(3)}
    shown, told, xids = look(lambda: nvml)
    assert shown.found.startswith("1 GPU (")
    assert told.found == (
        "1 of 58 fields; not told by this driver and model: SM_CLOCK, MEM_CLOCK, CLOCK_THROTTLE_REASONS, MAX_SM_CLOCK, "
        "MEMORY_TEMP, GPU_TEMP, NVLINK_CRC_FLIT_ERROR_COUNT of 18 links (18 fields) and 33 more"
    )
    assert xids == Finding("nvml xids", "warning", "not told for 0000:1a:00", "read the kernel's log too (source kmsg)")


def test_what_the_links_do_not_tell_is_said_once() -> None:
    nvml = Nvml(1)
    for link in range(18):
        del nvml.gpus[0].values[163, link]
    _, told = look(lambda: nvml)
    assert told.found == (
        "34 of 58 fields; not told by this driver and model: RETIRED_SBE, RETIRED_DBE, RETIRED_PENDING, "
        "NVLINK_COUNT_RX_ERRORS, NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS, "
        "NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS, NVLINK_CRC_FLIT_ERROR_COUNT of 18 links (18 fields)"
    )


def test_a_lost_gpu_is_named() -> None:
    nvml = Nvml()
    nvml.gpus[1].told = {name: Error(999) for name in nvml.gpus[1].told}
    nvml.gpus[1].values = dict.fromkeys(nvml.gpus[1].values, Error(999))
    found = look(lambda: nvml)
    assert [(one.what, one.state) for one in found] == [
        ("nvml", "ok"),
        ("nvml 0000:1b:00", "error"),
        ("nvml fields", "ok"),
    ]
    assert found[1].found == "unknown error (nvml error 999)"
    assert found[1].fix.startswith("see the kernel log; in a container")


def test_without_a_driver_it_need_not_be_there() -> None:
    assert look(missing) == [Finding("nvml", "absent", "no NVIDIA driver on this machine")]
    assert look(lambda: Nvml(opening=12)) == [Finding("nvml", "absent", "no NVIDIA driver on this machine")]


def test_with_a_driver_it_is_said_what_is_missing(machine: Path) -> None:
    (machine / "MODULE").mkdir()
    assert look(missing) == [
        Finding("nvml", "warning", "the package nvidia-ml-py is not installed", "pip install 'gpu-vitals[nvml]'")
    ]
    (library_missing,) = look(lambda: Nvml(opening=12))
    assert library_missing.state == "warning"
    assert "NVIDIA_DRIVER_CAPABILITIES=utility" in library_missing.fix


def test_what_keeps_it_from_opening_is_said_with_its_mending() -> None:
    (found,) = look(lambda: Nvml(opening=9))
    assert (found.state, found.found) == ("error", "cannot be opened: driver not loaded (nvml error 9)")
    assert found.fix == "load the driver (modprobe nvidia), and see the kernel log for why it is not"


def test_no_gpu_is_no_error() -> None:
    assert look(lambda: Nvml(0)) == [Finding("nvml", "absent", "the driver is there, and shows no GPU")]


def test_a_hung_driver_does_not_hold_the_check_up() -> None:
    nvml = Nvml()
    nvml.hang()
    (found,) = look(lambda: nvml, timeout_s=0.05)
    nvml.answer()
    assert (found.state, found.found) == ("error", "the driver has not answered within 0.05 s")
