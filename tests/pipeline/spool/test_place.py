from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.spool import place


def test_where_it_is_told() -> None:
    assert place.directory("~/spool") == Path.home() / "spool"


def test_the_machine_s_where_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SYSTEM", tmp_path / "lib" / "agent")
    assert place.directory(None) == tmp_path / "lib" / "agent"


def test_else_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert place.directory(None) == tmp_path / "gpu-vitals" / "agent"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert place.directory(None) == Path.home() / ".local/state/gpu-vitals/agent"


def test_a_kernel_that_does_not_name_its_boot_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(place.boot_id()) == 36
    monkeypatch.setattr(place, "BOOT_ID", tmp_path / "missing")
    assert place.boot_id() == ""
