from __future__ import annotations

from pathlib import Path

import pytest

BOOT = "5bd4bd5a-0000-4000-8000-000000000001"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the kernel shows of the driver, and short waits."""
    gpus = tmp_path / "gpus"
    for bus in ("0000:1a:00.0", "0000:1b:00.0"):
        (gpus / bus).mkdir(parents=True)
    (tmp_path / "boot_id").write_text(BOOT + "\n")
    (tmp_path / "nvidia").mkdir()
    monkeypatch.setattr("producers.driver.GPUS", gpus)
    monkeypatch.setattr("producers.driver.BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr("producers.driver.MODULE", tmp_path / "nvidia")
    monkeypatch.setattr("producers.nvml.session.CHECK_S", 0.0)
    monkeypatch.setattr("producers.nvml.source.XIDS_WAIT_MS", 20)
    monkeypatch.setattr("producers.nvml.source.XIDS_PAUSE_S", 0.01)
    return tmp_path
