from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from producers.dcgm import bindings, check
from producers.dcgm.source import findings
from producers.finding import Finding
from producers.watched import WATCHED


def found(target: str = "") -> dict[str, Finding]:
    return {finding.what: finding for finding in asyncio.run(findings(target))}


def test_a_node_without_dcgm_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(bindings.OVERRIDE, raising=False)
    monkeypatch.setattr(bindings, "DIRECTORIES", (tmp_path,))
    assert found() == {
        "dcgm": Finding("dcgm", "absent", "DCGM's Python bindings are not on this machine", bindings.Missing.fix)
    }


def test_a_node_that_is_well_has_nothing_to_mend(reachable: str) -> None:
    said = found(reachable)
    assert said["dcgm bindings"].state == said["dcgm host engine"].state == "ok"
    assert "GPUs, driver" in said["dcgm host engine"].found


def test_all_is_well(double: Any) -> None:
    engine = double.HostEngine()
    said = found()
    assert {finding.state for finding in said.values()} == {"ok"}
    assert said["dcgm host engine"].found == "answers at 127.0.0.1:5555: 2 GPUs, driver 580.82.07"
    assert said["dcgm fields"].found == f"{len(WATCHED)} of {len(WATCHED)} fields known"
    assert (engine.clients, engine.policies) == ([], {}), "the check leaves nothing behind"


def test_an_engine_that_is_down_comes_with_the_command_that_starts_it(double: Any) -> None:
    said = found()["dcgm host engine"]
    assert (said.state, said.found) == (
        "error",
        "host engine at 127.0.0.1:5555: cannot connect: the connection to the host engine is not valid any longer"
        " (DCGM -21)",
    )
    assert "systemctl start nvidia-dcgm" in said.fix


def test_an_engine_that_hangs(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CHECK_S", 0.2)
    double.HostEngine().hang()
    said = found()["dcgm host engine"]
    assert (said.state, said.found) == ("error", "host engine at 127.0.0.1:5555: no answer within 0.2 s")


def test_what_works_less_than_it_could_is_named(double: Any) -> None:
    engine = double.HostEngine(fields=set(range(1, 2000)) - {153})
    engine.nvswitch = False
    engine.lose(1)
    engine.gpus[0].mig = 1
    said = found()
    assert said["dcgm host engine"].found.endswith("2 GPUs, driver 580.82.07, 1 with MIG")
    assert said["dcgm gpu"].found == "GPU-1 at 0000:2b:00 is lost"
    assert said["dcgm fields"].state == said["dcgm NVLink states"].state == "warning"
    assert "missing are DCGM_FI_DEV_GPU_TEMP_TLIMIT" in said["dcgm fields"].found
    assert all(finding.fix for finding in said.values() if finding.state != "ok")


def test_an_engine_without_gpus(double: Any) -> None:
    double.HostEngine(0)
    said = found()["dcgm host engine"]
    assert (said.state, said.found, said.fix) == (
        "error",
        "host engine at 127.0.0.1:5555: it has no GPU",
        "see what nvidia-smi -L lists",
    )


def test_what_is_no_address(double: Any) -> None:
    assert found("node:http")["dcgm address"].state == "error"
