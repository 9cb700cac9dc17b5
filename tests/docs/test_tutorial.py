"""The tutorial's two files, taken from its page and put into a copy of the packages, do all that it promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "producers", "processors", "sinks", "pipeline")
PAGE = (ROOT / "docs/tutorial-signal.md").read_text("utf-8")
SIGNAL, TEST = "processors/signals/hbm_gradient.py", "tests/processors/signals/test_hbm_gradient.py"
START_S = 1_767_225_600


def block(path: str) -> str:
    """The code that the page shows for `path`."""
    found = re.search(rf"^`{re.escape(path)}`:\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"the tutorial shows no {path}"
    return found[1]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the five packages with the tutorial's files added, and nothing else."""
    root = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (SIGNAL, TEST):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(block(path), "utf-8")
    return root


def python(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(house), "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False, timeout=120)


def gpu_vitals(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(house, "-c", "from pipeline.cli import main; main()", *arguments)


def recording(house: Path) -> Path:
    """The HBM of GPU-hot rises by 30 degrees a minute for two minutes; that of GPU-cool stays as it is."""
    gpus = [{"uuid": "GPU-hot", "bdf": "0000:1b:00"}, {"uuid": "GPU-cool", "bdf": "0000:3b:00"}]
    lines = []
    for second in range(120):
        ts = 1000 * (START_S + second)
        value = {"node": "n1", "seq": second, "gpus": gpus, "ticks": [ts], "fields": {"140": [20 + second / 2, 20]}}
        lines.append(json.dumps({"ts": ts, "node": "n1", "kind": "telemetry", "value": value}) + "\n")
    path = house / "rising.jsonl"
    path.write_text("".join(lines), "utf-8")
    return path


def test_its_own_test_passes(house: Path) -> None:
    done = python(house, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", TEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_policy_show_lists_it(house: Path) -> None:
    shown = gpu_vitals(house, "policy", "show", "--json")
    values = {row["key"]: (row["value"], row["unit"]) for row in json.loads(shown.stdout)["values"]}
    assert values["signals.hbm_gradient.smoothing_s"] == (30.0, "s")
    assert values["signals.hbm_gradient.limits.warning"] == (10.0, "C/min")
    assert values["signals.hbm_gradient.enabled"][0] is True


def test_a_policy_file_sets_it_and_a_mistyped_key_is_named(house: Path) -> None:
    (house / "mine.toml").write_text("[signals.hbm_gradient]\nsmothing_s = 60.0\n", "utf-8")
    refused = gpu_vitals(house, "policy", "check", "mine.toml")
    assert refused.returncode == 2
    assert "smothing_s" in refused.stderr
    assert "`smoothing_s`" in refused.stderr
    (house / "mine.toml").write_text("[signals.hbm_gradient]\nsmoothing_s = 60.0\n", "utf-8")
    assert gpu_vitals(house, "policy", "check", "mine.toml").returncode == 0


def test_scan_names_it_from_two_pages_of_an_exporter(house: Path) -> None:
    pages = []
    for number, celsius in enumerate((40, 60)):
        labels = 'gpu="0",UUID="GPU-hot",pci_bus_id="00000000:1B:00.0",Hostname="n1"'
        page = house / f"page{number}.prom"
        page.write_text(f"DCGM_FI_DEV_MEMORY_TEMP{{{labels}}} {celsius}\n", "utf-8")
        os.utime(page, (START_S + 9 * number, START_S + 9 * number))
        pages += ["--exporter", page.name]
    done = gpu_vitals(house, "scan", *pages, "--json")
    assert done.returncode == 1, done.stderr
    (gpu,) = json.loads(done.stdout)["gpus"]
    assert gpu["uuid"] == "GPU-hot"
    assert any("hbm gradient" in reason for reason in gpu["reasons"])


def test_replay_lowers_the_score_of_the_one_gpu(house: Path) -> None:
    done = gpu_vitals(house, "replay", str(recording(house)), "--json", "--topics", "scores")
    scores = [json.loads(line)["value"] for line in done.stdout.splitlines()]
    reasons = [(score["uuid"], reason) for score in scores for reason in score.get("reasons", [])]
    named = {(uuid, reason["signal"], reason["level"], reason["unit"]) for uuid, reason in reasons}
    assert named == {("GPU-hot", "hbm_gradient", level, "C/min") for level in ("warning", "critical")}


METRICS_AND_CHECKPOINT = """
import asyncio, sys
from pathlib import Path
from pipeline.recording_file import Recordings
from processors import checkpoints
from processors.node import STATE_VERSION, NodeTask
from schemas.log import Record
from sinks.metrics import MetricsSink
task, sink = NodeTask(), MetricsSink()
outputs = task.step(list(Recordings([Path(sys.argv[1])]).records("node")))
scores = [output for output in outputs if output.topic == "scores"]
asyncio.run(sink.apply("scores", [Record(at, o.ts, o.key, o.kind, o.value) for at, o in enumerate(scores)]))
print(sink.page().decode())
state = checkpoints.unpack(STATE_VERSION, task.checkpoint())
print("columns:", *sorted(state["judges"]["signals"]["hbm_gradient"][1]))
"""


def test_metrics_count_it_and_the_checkpoint_holds_its_columns(house: Path) -> None:
    done = python(house, "-c", METRICS_AND_CHECKPOINT, str(recording(house)))
    assert done.returncode == 0, done.stderr
    assert 'gpu_vitals_signal_gpus{level="critical",signal="hbm_gradient"} 1.0' in done.stdout
    assert "columns: slope temp" in done.stdout


def test_the_reference_pages_describe_it(house: Path) -> None:
    make = "from pipeline.generated import reference; print(reference.signals(), reference.policy())"
    done = python(house, "-c", make)
    assert "## hbm_gradient" in done.stdout, done.stderr
    assert "`signals.hbm_gradient.limits.warning`" in done.stdout
