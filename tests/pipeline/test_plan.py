from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageProblem
from pipeline.plan import plan
from pipeline.settings import Settings
from producers.machine import Machine

BARE = Machine([], ["no DCGM engine at 127.0.0.1:5555", "nvml: the driver knows no GPU"])


def made(*sources, there=BARE, simulate=True, **more):
    return plan(Settings(sources=list(sources), **more), simulate=simulate, look=lambda: there)


def complaint(*sources, **more):
    with pytest.raises(UsageProblem) as caught:
        made(*sources, **more)
    return str(caught.value)


def test_without_a_gpu_a_fleet_is_simulated_and_says_why_and_how_fast():
    planned = made()
    assert [source.name for source in planned.sources] == ["simulator:64"]
    assert planned.what == "no GPU here: simulated faulty fleet, 10 x real time"
    assert planned.data_dir is None


def test_who_asks_for_a_speed_asks_for_a_simulated_fleet():
    planned = made(speed=1.0, there=Machine(["kmsg"], []))
    assert [source.name for source in planned.sources] == ["simulator:64"]
    assert planned.what == "simulated faulty fleet, in real time"


def test_without_a_source_the_machines_own_are_read(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    planned = made(there=Machine(["journal", "kmsg"], []))
    assert [source.name for source in planned.sources] == ["journal", "kmsg"]
    assert planned.what == "journal, kmsg"
    assert planned.data_dir == Path("/home/me/data/gpu-vitals")


def test_an_agent_without_a_gpu_gets_one_clear_message():
    assert complaint(simulate=False) == (
        "no GPU was found on this machine: no DCGM engine at 127.0.0.1:5555; nvml: the driver knows no GPU\n"
        "  help: name sources with --source, or simulator:8 to try; `gpu-vitals agent --check` says more"
    )


def test_an_agent_reads_what_it_is_told_to_whatever_there_is():
    assert [source.name for source in made("simulator:8", simulate=False).sources] == ["simulator:8"]


@pytest.mark.parametrize("engine", ["dcgm", "dcgm://node7:5555"])
def test_the_same_is_not_told_by_two_sources(engine):
    assert complaint("nvml", engine) == (
        f"sources {engine} and nvml would tell the same fields of the same GPUs\n"
        "  help: name one of them; DCGM tells more"
    )


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
