"""The compose file and its Dockerfile before Docker's own loader and parser (tests/compose/load)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.compose.stack import COMPOSE

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]  # packages are fetched and built

LOADER = Path(__file__).parent / "load"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """`load(FILE, PROFILE...)`: what the loader says, as (exit status, output)."""
    program = tmp_path_factory.mktemp("load") / "load"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    built = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=LOADER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert built.returncode == 0, built.stderr

    def run(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout or done.stderr

    return run


@pytest.fixture
def altered(tmp_path):
    """A copy of compose/ with something replaced in its compose file, or in its Dockerfile."""

    def make(old, new, name="compose.yaml"):
        for file in ("compose.yaml", "Dockerfile", "gpu-vitals.toml"):
            text = (COMPOSE / file).read_text("utf-8")
            if file == name:
                assert old in text
                text = text.replace(old, new, 1)
            (tmp_path / "compose").mkdir(exist_ok=True)
            (tmp_path / "compose" / file).write_text(text)
        return tmp_path / "compose" / "compose.yaml"

    return make


def test_the_project_is_what_the_specification_allows(load):
    status, output = load(COMPOSE / "compose.yaml", "simulation")
    assert status == 0, output
    project = json.loads(output)
    assert project["services"]["node-worker"]["deploy"]["replicas"] == 2
    assert project["services"]["agent"]["command"][:2] == ["agent", "--source"]
    assert project["services"]["kafka"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_so_is_the_agent_of_a_node(load):
    status, output = load(COMPOSE / "agent.yaml")
    assert status == 0, output
    agent = json.loads(output)["services"]["agent"]
    assert agent["devices"] == [{"source": "/dev/kmsg", "target": "/dev/kmsg", "permissions": "r"}]


def test_whom_to_act_through_is_asked_only_with_the_profile_for_it(load):
    for profiles, there in (([], False), (["act"], True)):
        status, output = load(COMPOSE / "compose.yaml", *profiles)
        assert status == 0, output
        services = json.loads(output)["services"]
        assert ("scheduler-sink" in services) is there
        [mount] = services["commander-sink"]["volumes"]
        assert (mount["type"], mount["read_only"]) == ("bind", True)
        assert Path(mount["source"]) == COMPOSE / "secrets" / "commander"


def test_no_gpu_is_simulated_unless_asked_for(load):
    status, output = load(COMPOSE / "compose.yaml")
    assert status == 0, output
    assert "agent" not in json.loads(output)["services"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    healthcheck:", "    healtcheck:", "additional properties 'healtcheck' not allowed"),
        ("- grafana:/var", "- grafanna:/var", "undefined volume grafanna"),
        ("networks: [watch]", "networks: [wotch]", "undefined network wotch"),
        ("condition: service_healthy", "condition: service_fine", "depends_on"),
        ("prometheus: { condition", "prometeus: { condition", "prometeus"),
        ("memory: 2G", "memory: much", "invalid size"),
    ],
)
def test_the_loader_would_find_a_mistake(load, altered, old, new, complaint):
    status, output = load(altered(old, new))
    assert status == 1
    assert complaint in output


def test_the_parser_would_find_a_mistake_in_the_dockerfile(load, altered):
    status, output = load(altered("WORKDIR /source", "WORKDRI /source", name="Dockerfile"))
    assert status == 1
    assert "unknown instruction: WORKDRI" in output
