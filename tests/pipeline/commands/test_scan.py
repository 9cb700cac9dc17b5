"""`gpu-vitals scan` of a machine: the driver's library is a double, the kernel's log a pipe of packets."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.cli import main
from producers import kmsg, machine
from producers.dcgm import bindings
from producers.nvml import library
from producers.nvml.source import Nvml as NvmlSource
from tests.producers.nvml.double import ULL, Error, Nvml, _Banks

A, B = "GPU-00000000", "GPU-00000001"
XID = "NVRM: Xid (PCI:0000:1a:00): {}, pid=7, name=python3, Ch 00000008"
EXAMPLE = Path(__file__).parents[3] / "docs/examples/kernel.log"
DAY_S = 86_400.0
NOTHING = "nothing to scan: no GPU was found on this machine: no DCGM engine at {}:{}; no NVIDIA driver"
MISSING = "`gpu-vitals agent --check` says how to mend what is missing"
Run = Callable[..., tuple[int, str, str]]


def no_library() -> Nvml:
    raise library.Missing("the package nvidia-ml-py is not installed", library.INSTALL)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing on it, whatever this one has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(machine, "ENGINE", free.getsockname())
    monkeypatch.setattr(machine, "LIBRARY_S", 60.0)  # however busy the machine
    monkeypatch.setattr(bindings, "DIRECTORIES", ())
    monkeypatch.delenv(bindings.OVERRIDE, raising=False)
    monkeypatch.setattr(library, "load", no_library)
    monkeypatch.setattr(NvmlSource.__init__, "__kwdefaults__", _with_loader(NvmlSource.__init__.__kwdefaults__))
    for name in ("GPUS", "MODULE", "DEVICE"):
        monkeypatch.setattr(f"producers.driver.{name}", tmp_path / name)
    monkeypatch.setattr("producers.nvml.source.XIDS_WAIT_MS", 20)
    monkeypatch.setattr(kmsg, "DEVICE", str(tmp_path / "kmsg"))
    monkeypatch.setattr(kmsg, "WAIT_S", 0.01)
    monkeypatch.setattr(kmsg, "REST_WAIT_S", 0.01)
    monkeypatch.setenv("PATH", str(tmp_path))


def _with_loader(defaults: dict[str, object]) -> dict[str, object]:
    """The library is found when it is needed, not when its module was read."""
    return {**defaults, "load": lambda: library.load()}


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvml]:
    """Two sound GPUs, which have counted a lot in their lives."""
    double = Nvml(2)
    for gpu in double.gpus:
        gpu.told |= {"RemappedRows": (0, 0, 0, 0), "RowRemapperHistogram": _Banks(640), "SramThreshold": 0}
        gpu.told["PcieReplayCounter"] = 10**6
        gpu.values |= dict.fromkeys((4, 6, 142, 143, 144, 145), (ULL, 0))
        gpu.values |= dict.fromkeys((3, 5, 38, 52, 59, 94), (ULL, 10**6))
        (tmp_path / "GPUS" / gpu.bus[4:].lower()).mkdir(parents=True)
    monkeypatch.setattr(library, "load", lambda: double)
    yield double
    assert (double.opened, double.sets) == (0, 0)  # all is let go of
    double.answer()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Each write is read by itself, as a record is of /dev/kmsg. Says `texts`, `age_s` ago."""
    reader, writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    monkeypatch.setattr(kmsg, "DEVICE", f"/proc/self/fd/{reader}")

    def say(*texts: str, age_s: float = 60.0) -> None:
        said_us = int((time.clock_gettime(time.CLOCK_MONOTONIC) + 30 * DAY_S - age_s) * 1e6)
        for number, text in enumerate(texts):
            os.write(writer, f"4,{number},{said_us},-;{text}\n".encode())

    real = kmsg.boot_ms
    monkeypatch.setattr(kmsg, "boot_ms", lambda: real() - int(30_000 * DAY_S))  # it has been up for a month
    yield say
    os.close(reader)
    os.close(writer)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["scan", *args])
        out, err = capfdbinary.readouterr()
        return int(exit.value.code or 0), out.decode(), err.decode()

    return call


def test_without_inputs_it_is_this_machine_that_is_judged(nvml: Nvml, kernel: Callable[..., None], run: Run) -> None:
    """Counters count from the first sample on: what happened in years is no rate."""
    kernel("usb 1-1: new device")
    code, out, err = run("--seconds", "2", "--node", "n1")
    assert code == 0
    head, *gpus, total = out.splitlines()
    assert head == "n1: 2 x NVIDIA H100 80GB HBM3; driver 580.82.07; nvml, kmsg for 2 s"
    assert gpus == [f"healthy   1.00  {uuid}  n1  none" for uuid in (A, B)]
    assert total.startswith("2 GPUs: 2 healthy; 0 kernel faults; policy default@")
    assert re.fullmatch(r"note: 6 of \d+ fields have no value here, which is no fault: RETIRED_SBE, [\w, ]*\n", err)


def test_what_the_kernel_said_before_is_evidence(nvml: Nvml, kernel: Callable[..., None], run: Run) -> None:
    """By the address alone: the line that tells the UUID may have been overwritten long ago."""
    kernel(XID.format(79), age_s=20 * DAY_S)
    code, out, _ = run("--seconds", "1", "--node", "n1")
    assert code == 1
    assert out.splitlines()[1:4] == [
        f"failed    0.00  {A}  n1  remove-node",
        "                Xid 79: GPU fell off the bus",
        "                1 x Xid 79 in the log",
    ]


@pytest.mark.parametrize(
    ("age_s", "condition"), [(60.0, "warning"), (3000.0, "warning"), (4000.0, "healthy"), (DAY_S, "healthy")]
)
def test_what_has_passed_by_now_is_shown_and_counts_no_more(
    nvml: Nvml, kernel: Callable[..., None], run: Run, age_s: float, condition: str
) -> None:
    kernel(XID.format(45), age_s=age_s)
    code, out, _ = run("--seconds", "1", "--json")
    report = json.loads(out)
    found = {gpu["uuid"]: (gpu["condition"], gpu["xids"]) for gpu in report["gpus"]}
    assert found == {A: (condition, [45]), B: ("healthy", [])}
    assert code == (condition != "healthy")
    assert abs(report["events"][0]["ts"] / 1000 - (time.time() - age_s)) < 60.0
    assert report["here"]["models"] == {"NVIDIA H100 80GB HBM3": 2}


FATAL = "20034, Fatal, Link 61 LTSSM Fault Up"
ABORTS_JOBS = "12028, Non-fatal, Link 61 egress PRIV error"
HARMLESS = "20001, Non-fatal, Link 61 TX Replay Error"


@pytest.mark.parametrize(
    ("said", "unwell"),
    [
        ([(3, FATAL)], True),
        ([(3, ABORTS_JOBS)], True),
        ([(3, HARMLESS)], False),
        ([(3, ABORTS_JOBS), (5, HARMLESS)], False),  # an hour and more has passed
        ([(3, FATAL), (5, HARMLESS)], True),
    ],
)
def test_switches_count_although_their_faults_name_no_gpu(
    run: Run, tmp_path: Path, said: list[tuple[int, str]], unwell: bool
) -> None:
    head = "2026-01-02T0{}:04:05,678901+00:00 nvidia-nvswitch3: SXid (PCI:0000:86:00.0): {}\n"
    (tmp_path / "switch.log").write_text("".join(head.format(hour, text) for hour, text in said))
    code, out, _ = run("--kernel-log", "switch.log", "--json")
    assert (code, json.loads(out)["unwell_switches"]) == (int(unwell), ["0000:86:00"] if unwell else [])


def test_damage_is_seen_at_once(nvml: Nvml, kernel: Callable[..., None], run: Run) -> None:
    nvml.gpus[1].values[145] = (ULL, 1)
    code, out, _ = run("--seconds", "1")
    assert code == 1
    assert re.search(rf"^failed .*{B}", out, re.MULTILINE)


def test_a_gpu_that_is_lost_is_unknown_and_the_other_one_judged(
    nvml: Nvml, kernel: Callable[..., None], run: Run
) -> None:
    nvml.gpus[0].lost = 15
    code, out, err = run("--seconds", "1", "--node", "n1")
    assert code == 1
    assert re.search(r"^unknown .*0000:1a:00", out, re.MULTILINE)
    assert re.search(rf"^healthy .*{B}", out, re.MULTILINE)
    assert out.startswith("n1: 1 x a model that is not told, 1 x NVIDIA H100 80GB HBM3; driver 580.82.07; ")
    assert "note: GPU 0000:1a:00: gpu is lost (nvml error 15)" in err


def test_a_driver_that_hangs_is_told_beside_what_the_kernel_says_of_it(
    nvml: Nvml, kernel: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NvmlSource, "deadline_s", 0.3)
    monkeypatch.setattr(machine, "LIBRARY_S", 0.1)
    nvml.hang()
    kernel(XID.format(119))
    code, out, err = run("--seconds", "1")
    assert code == 2
    assert "1 x Xid 119 in the log" in out
    assert "error: nvml: could not be opened within 0.3 s" in err


def test_a_telemetry_that_fails_while_it_is_read_is_told(nvml: Nvml, kernel: Callable[..., None], run: Run) -> None:
    nvml.gpus[0].told["PowerUsage"] = nvml.gpus[1].told["PowerUsage"] = Error(18)
    code, out, err = run("--seconds", "1")
    assert (code, out) == (2, "")
    assert err.startswith("error: nvml: rm has detected an nvml/rm version mismatch")


def test_where_the_kernels_messages_may_not_be_read_that_is_a_note(nvml: Nvml, run: Run) -> None:
    code, out, err = run("--seconds", "1")
    assert code == 0
    assert "; nvml for 1 s" in out
    assert "note: the kernel's messages were not read: " in err
    assert "/dev/kmsg: no such file or directory; journalctl: not found; run as root to read them\n" in err


def test_a_journal_that_may_not_be_read_is_not_one_without_faults(nvml: Nvml, run: Run, tmp_path: Path) -> None:
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\ncase "$*" in *--follow*) exec /bin/sleep 60;; esac\n')
    program.chmod(0o755)
    code, out, err = run("--seconds", "1")
    assert code == 0
    assert "; nvml, journal for 1 s" in out
    assert "note: the kernel's messages were not read: journal: no message of the kernel in it" in err


def test_without_a_gpu_and_without_an_input_there_is_nothing_to_scan(run: Run) -> None:
    what = NOTHING.format(*machine.ENGINE)
    help = f"name an input: --kernel-log FILE or --exporter FILE|URL; {MISSING}"
    assert run() == (2, "", f"error: {what}\n  help: {help}\n")


def test_a_log_that_is_named_beside_this_machine_is_of_it(
    nvml: Nvml, kernel: Callable[..., None], run: Run, tmp_path: Path
) -> None:
    log = tmp_path / "fabricmanager.log"
    log.write_text(f"[Jan 02 2026 03:04:05] {XID.format(48)}\n")
    code, out, _ = run("--live", "--seconds", "1", "--node", "n1", "--kernel-log", str(log), "--json")
    found = {(gpu["node"], gpu["uuid"] or gpu["bdf"]): gpu["condition"] for gpu in json.loads(out)["gpus"]}
    assert (code, found["n1", A]) == (1, "failed")


def test_a_look_that_was_asked_for_and_is_not_possible_leaves_the_log_judged(run: Run) -> None:
    code, out, err = run("--live", "--kernel-log", str(EXAMPLE))
    assert code == 2
    assert "3 GPUs: 2 failed, 1 unseen; 4 kernel faults" in out
    assert err.startswith("error: no GPU was found on this machine: ")


def test_faults_after_a_page_of_the_same_node_count(run: Run, tmp_path: Path) -> None:
    """Inputs are of one node, whichever is named first, and whichever is older."""
    labels = f'gpu="0",UUID="{A}",pci_bus_id="00000000:1A:00.0",Hostname="n1"'
    (tmp_path / "page.prom").write_text(f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} 40\n")
    os.utime(tmp_path / "page.prom", (1_767_323_000, 1_767_323_000))
    (tmp_path / "kern.log").write_text(f"2026-01-02T03:04:05.000000+00:00 n1 kernel: {XID.format(48)}\n")
    code, out, _ = run("--kernel-log", "kern.log", "--exporter", "page.prom", "--json")
    (gpu,) = json.loads(out)["gpus"]
    assert (code, gpu["uuid"], gpu["condition"], gpu["xids"]) == (1, A, "failed", [48])


@pytest.mark.parametrize(
    ("name", "text", "problem", "help"),
    [
        ("kern.log", XID.format(48), "not said what it is", "it seems to be for gpu-vitals scan --kernel-log kern.log"),
        (
            "page",
            'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 4',
            "not said what it is",
            "it seems to be for gpu-vitals scan --exporter page",
        ),
        ("week.jsonl.zst", "", "a recording is not scanned", "gpu-vitals replay week.jsonl.zst"),
        ("gone", None, "no such file or directory", "name an input: --kernel-log FILE or --exporter FILE|URL"),
        ("http://n1:9400/metrics", None, "not said what it is", "gpu-vitals scan --exporter http://n1:9400/metrics"),
    ],
)
def test_a_bare_file_is_told_its_option(
    run: Run, tmp_path: Path, name: str, text: str | None, problem: str, help: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert run(name) == (2, "", f"error: {name}: {problem}\n  help: {help}\n")


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--seconds", "3", "--kernel-log", str(EXAMPLE)], "--seconds is for a look at this machine"),
        (["--live", "--exporter", "page"], "--live and --exporter may tell the same of the same GPUs twice"),
        (["--policy", "defualt"], "policy defualt: no such file or directory"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_looked_at(
    run: Run, monkeypatch: pytest.MonkeyPatch, args: list[str], problem: str
) -> None:
    monkeypatch.setattr(machine, "look", lambda: pytest.fail("looked"))
    code, out, err = run(*args)
    assert (code, out, err.splitlines()[0]) == (2, "", f"error: {problem}")


def test_numpy_is_not_loaded_before_it_has_looked() -> None:
    script = (
        "import sys; from pipeline.commands import scan; from pipeline import listening; from producers import machine;"
        "machine.look(); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "faust", "aiokafka", "pipeline.scan"} & set(eval(done.stdout))
