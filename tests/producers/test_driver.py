from __future__ import annotations

from pathlib import Path

import pytest

from producers import driver


def test_a_module_that_is_loaded_again_is_another_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel numbers the directories of the modules that this machine has loaded."""
    loaded = sorted(Path("/sys/module").iterdir())[:2] if Path("/sys/module").is_dir() else []
    if len(loaded) < 2:
        pytest.skip("no modules are shown here")
    texts = []
    for module in (loaded[0], loaded[0], loaded[1]):
        monkeypatch.setattr(driver, "MODULE", module)
        texts.append(driver.driver_load())
    assert texts[0] == texts[1] != texts[2]


def test_what_cannot_be_told_is_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MODULE", "BOOT_ID", "GPUS", "DEVICE"):
        monkeypatch.setattr(driver, name, tmp_path / "nothing")
    assert (driver.driver_load(), driver.boot_id(), driver.driver_gpus()) == ("", "", {})
    assert not driver.driver_present()


def test_the_driver_lists_its_gpus_by_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("0000:1a:00.0", "000a:C1:00.0", "readme"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(driver, "GPUS", tmp_path)
    assert driver.driver_gpus() == {
        "0000:1a:00": tmp_path / "0000:1a:00.0",
        "000a:c1:00": tmp_path / "000a:C1:00.0",
    }
    assert driver.uuid_at(tmp_path / "0000:1a:00.0") == ""
    assert driver.driver_present()
