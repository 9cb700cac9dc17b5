from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageProblem
from pipeline.plan import plan
from pipeline.settings import Settings


def made(*sources, **more):
    return plan(Settings(sources=list(sources), **more))


def complaint(*sources, **more):
    with pytest.raises(UsageProblem) as caught:
        made(*sources, **more)
    return str(caught.value)


def test_without_a_source_a_fleet_is_simulated_and_says_how_fast():
    planned = made()
    assert [source.name for source in planned.sources] == ["simulator:64"]
    assert planned.what == "simulated faulty fleet, 10 x real time"
    assert planned.data_dir is None
    assert made(speed=1.0).what == "simulated faulty fleet, in real time"


def test_live_sources_go_on_with_the_history_of_their_user(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    planned = made("kmsg", "exporter:http://localhost:9400/metrics")
    assert planned.data_dir == Path("/home/me/data/gpu-vitals")
    assert planned.what == "kmsg, exporter:http://localhost:9400/metrics"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert made("kmsg").data_dir == Path.home() / ".local/share/gpu-vitals"


def test_what_has_an_end_does_not_mix_with_that_history_unasked(tmp_path):
    file = tmp_path / "kern.log"
    file.touch()
    assert made(f"kernel-log:{file}").data_dir is None
    assert made("kmsg", f"kernel-log:{file}", data_dir="/d").data_dir == Path("/d")


def test_a_source_that_owns_its_clock_runs_alone():
    assert complaint("simulator:8", "kmsg") == (
        "source simulator:8 says itself what time it is and cannot run beside kmsg\n"
        "  help: run them apart, each with its own --data-dir"
    )
    assert "cannot run beside simulator:16" in complaint("simulator:8", "simulator:16")


@pytest.mark.parametrize("name", ["simulator:8", "kmsg"])
def test_a_source_reads_once(name):
    assert complaint(name, name) == f"source {name} is named twice\n  help: name it once"


@pytest.mark.parametrize("source", ["recording:{}", "kernel-log:{}", "exporter:{}"])
def test_a_file_that_is_not_there_is_said_at_once(source, tmp_path):
    name = source.format(tmp_path / "nothing")
    assert complaint(name) == f"source {name}: no such file or directory"


def test_an_unknown_source_is_answered_with_those_there_are():
    assert "kmsg" in complaint("nothing:1")


def test_a_speed_needs_a_simulation():
    assert complaint("kmsg", speed=2.0).startswith("--speed is for simulated fleets")


def test_a_log_that_is_followed_goes_on_with_its_history(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    file = tmp_path / "kern.log"
    file.touch()
    assert made(f"kernel-log:{file}", follow=True).data_dir == tmp_path / "gpu-vitals"
