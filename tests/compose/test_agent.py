"""The agent of a node, as compose/ runs it: in a container, and by systemd. Both get what it needs and no more."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from pipeline.spool import place
from tests.compose.stack import COMPOSE

PROJECT = yaml.safe_load((COMPOSE / "agent.yaml").read_text("utf-8"))
AGENT = PROJECT["services"]["agent"]
WHOLE = yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8"))["services"]["agent"]


def unit():
    """The settings of the unit, by name, each with all its values."""
    settings = defaultdict(list)
    text = (COMPOSE / "systemd" / "gpu-vitals-agent.service").read_text("utf-8")
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        settings[name].append(value)
    return settings


UNIT = unit()


def test_of_roots_capabilities_it_keeps_the_one_that_reads_the_kernels_log():
    assert (AGENT["cap_drop"], AGENT["cap_add"]) == (["ALL"], ["SYSLOG"])
    assert AGENT["security_opt"] == ["no-new-privileges:true"]
    assert AGENT["read_only"]
    assert "privileged" not in AGENT
    assert UNIT["CapabilityBoundingSet"] == UNIT["AmbientCapabilities"] == ["CAP_SYSLOG"]
    assert UNIT["NoNewPrivileges"] == UNIT["DynamicUser"] == ["yes"]


def test_it_may_open_the_kernels_log_to_read_and_the_drivers_devices():
    assert AGENT["devices"] == ["/dev/kmsg:/dev/kmsg:r"]
    [reserved] = AGENT["deploy"]["resources"]["reservations"]["devices"]
    assert (reserved["driver"], reserved["capabilities"]) == ("nvidia", ["utility"])
    assert UNIT["DevicePolicy"] == ["closed"]
    assert UNIT["DeviceAllow"] == ["/dev/kmsg r", "char-nvidia* rw"]


def test_its_spool_outlives_it_and_lies_where_it_looks():
    assert f"spool:{place.SYSTEM.parent}" in AGENT["volumes"]
    assert "spool" in PROJECT["volumes"]
    [directory] = UNIT["StateDirectory"]
    assert Path("/var/lib") / directory == place.SYSTEM


@pytest.mark.parametrize("name", ["CPUQuota", "MemoryHigh", "MemoryMax", "TasksMax"])
def test_it_is_limited_by_systemd(name):
    assert UNIT[name]


def test_it_is_limited_in_its_container_and_no_wider_than_by_systemd():
    limits = AGENT["deploy"]["resources"]["limits"]
    assert 100 * float(limits["cpus"]) <= int(UNIT["CPUQuota"][0].removesuffix("%"))
    assert limits["memory"] == UNIT["MemoryMax"][0]
    assert limits["pids"] == int(UNIT["TasksMax"][0])


def test_it_is_watched():
    assert UNIT["Type"] == ["notify"]
    assert int(UNIT["WatchdogSec"][0]) > 0
    assert AGENT["restart"] == "unless-stopped"
    listens = AGENT["command"][AGENT["command"].index("--listen") + 1]
    assert f"127.0.0.1:{listens}/healthz" in AGENT["healthcheck"]["test"][-1]


def test_it_listens_on_loopback_although_it_shares_the_machines_network():
    assert AGENT["network_mode"] == "host"
    assert "ports" not in AGENT
    assert AGENT["command"][AGENT["command"].index("--listen") + 1].isdigit()  # no host: loopback


def test_the_image_is_that_of_the_other_processes():
    assert AGENT["image"] == WHOLE["image"]
    settings = AGENT["volumes"][0]
    assert settings == "./gpu-vitals.toml:/etc/gpu-vitals/gpu-vitals.toml:ro"
    assert (COMPOSE / "gpu-vitals.toml").is_file()
