"""Tickets beside a real run, over its own log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, "-m", "pipeline", "run", "--source", "recording:docs/examples/fleet.jsonl"]


def run(tmp_path, enabled, data):
    text = f'[tickets]\nto = "file"\nenabled = {enabled}\ndirectory = "{tmp_path}/tickets"\n'
    (tmp_path / "gpu-vitals.toml").write_text(text)
    command = [*PROGRAM, "--config", str(tmp_path / "gpu-vitals.toml"), "--data-dir", str(tmp_path / data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


def tickets(tmp_path):
    found = [json.loads(path.read_text("utf-8")) for path in sorted((tmp_path / "tickets").glob("*.json"))]
    return [(each["title"], len(each["gpus"]), each["is_open"]) for each in found]


def test_each_incident_is_one_ticket_also_after_a_restart_and_from_another_log(tmp_path):
    expected = [
        ("b1 0000:1b:00: Xid 48: double-bit ECC error", 1, True),
        ("b2 2 GPUs: no telemetry of this GPU for 60 s", 2, True),
    ]
    for data in ("one", "one", "two"):
        run(tmp_path, "true", data)
        assert tickets(tmp_path) == expected


def test_a_dry_run_only_speaks(tmp_path):
    said = run(tmp_path, "false", "one")
    assert "would create priority 2 ticket: b1 0000:1b:00: Xid 48" in said
    assert not (tmp_path / "tickets").exists()
