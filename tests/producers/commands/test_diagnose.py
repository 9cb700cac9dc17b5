"""A diagnostic before a stand-in of dcgmi: what passes, what proves nothing, and what is not even begun."""

from __future__ import annotations

import asyncio
import json

import pytest

from producers.commands import holders
from producers.commands.diagnose import diagnose, numbers
from tests.producers.commands.standins import BDF, OTHER, UUID, Machine, unsaid
from tests.producers.commands.test_reset import user_of

TESTS = ("software", "memory", "pcie")
NUMBER = 3  # the engine's of our GPU

DCGMI = """#!{python}
import json, os, sys, time
here = {directory!r}
def read(name):
    path = os.path.join(here, name)
    return open(path).read() if os.path.exists(path) else ""
with open(os.path.join(here, "dcgmi-calls"), "a") as log:
    print(*sys.argv[1:], file=log)
if sys.argv[1] == "discovery":
    print(read("discovery"), end="")
    sys.exit(int(read("discovery-status") or 0))
if read("hang"):
    time.sleep(600)
time.sleep(float(read("diag-takes_s") or 0))
print(read("diag"), end="")
sys.exit(int(read("diag-status") or 0))
"""

DISCOVERY = f"""2 GPUs found.
+--------+----------------------------------------------------------------------+
| GPU ID | Device Information                                                   |
+--------+----------------------------------------------------------------------+
| 0      | Name: NVIDIA H100 80GB HBM3                                          |
|        | PCI Bus ID: 00000000:43:00.0                                         |
|        | Device UUID: {OTHER}                |
+--------+----------------------------------------------------------------------+
| {NUMBER}      | Name: NVIDIA H100 80GB HBM3                                          |
|        | PCI Bus ID: 00000000:1B:00.0                                         |
|        | Device UUID: {UUID}                |
+--------+----------------------------------------------------------------------+
0 NvSwitches found.
"""


def dcgm4(statuses):
    tests = []
    for name, status in statuses.items():
        warnings = [{"warning": "it is broken", "error_id": 83, "error_category": 1}] if status == "Fail" else []
        results = [{"entity_group": "GPU", "entity_group_id": 1, "entity_id": NUMBER, "status": status}]
        tests.append({"name": name, "results": [{**results[0], "warnings": warnings}]})
    listed = [{"entity_id": NUMBER, "device_id": "2330", "serial_num": "165"}]
    return {
        "DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": tests}]},
        "entity_groups": [{"entity_group": "GPU", "entity_group_id": 1, "entities": listed}],
    }


def dcgm3(statuses):
    tests = [
        {"name": name, "results": [{"gpu_id": str(NUMBER), "status": status}]}
        for name, status in statuses.items()
        if name != "software"
    ]
    deployment = [{"name": "Denylist", "results": [{"gpu_id": str(NUMBER), "status": "Pass"}]}]
    categories = [{"category": "Deployment", "tests": deployment}, {"category": "Hardware", "tests": tests}]
    return {"DCGM GPU Diagnostic": {"test_categories": categories, "GPU Device Serials": {str(NUMBER): "165"}}}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    made.use(monkeypatch.setattr)
    made.programs = made.programs._replace(dcgmi=made.program("dcgmi", DCGMI))
    made.say("discovery", DISCOVERY)
    made.say("diag", json.dumps(dcgm4(dict.fromkeys(TESTS, "Pass"))))
    return made


def done(machine, level=2, **programs):
    return asyncio.run(diagnose(machine.programs._replace(**programs), "default", "n1", UUID, BDF, level, unsaid))


def calls(machine):
    return (machine.directory / "dcgmi-calls").read_text().splitlines()


@pytest.mark.parametrize("layout", [dcgm4, dcgm3])
def test_a_gpu_that_passes_is_told_as_a_diagnostic_of_its_uuid(machine, layout):
    machine.say("diag", json.dumps(layout(dict.fromkeys(TESTS, "Pass"))))
    outcome = done(machine)
    assert (outcome.state, outcome.reason, outcome.status) == ("done", "pass", 0)
    said = outcome.said
    assert (said.uuid, said.bdf, said.node, said.level, said.result) == (UUID, BDF, "n1", 2, "pass")
    assert said.tool == "dcgmi diag"
    assert 0 < said.started <= said.ts
    assert {"memory", "pcie"} <= {test.name for test in said.tests}
    assert calls(machine) == ["discovery -l", f"diag -r 2 -j -i {NUMBER}"]


@pytest.mark.parametrize("layout", [dcgm4, dcgm3])
def test_one_that_fails_is_told_with_the_test(machine, layout):
    machine.say("diag", json.dumps(layout({"software": "Pass", "memory": "Fail", "pcie": "Pass"})))
    machine.say("diag-status", "226")
    outcome = done(machine)
    assert (outcome.state, outcome.reason, outcome.detail) == ("done", "fail", "level 2: fail: memory")
    assert outcome.said.result == "fail"


@pytest.mark.parametrize("layout", [dcgm4, dcgm3])
@pytest.mark.parametrize(
    "statuses", [{"software": "Pass"}, {"software": "Pass", "memory": "Pass", "pcie": "Skip"}, {}, {"memory": "Pass"}]
)
def test_exit_status_0_without_the_tests_of_the_level_proves_nothing(machine, layout, statuses):
    machine.say("diag", json.dumps(layout(statuses)))
    outcome = done(machine)
    assert (outcome.state, outcome.reason, outcome.status) == ("done", "incomplete", 0)
    assert outcome.said.result == "incomplete"
    assert "proves nothing" in outcome.detail


@pytest.mark.parametrize(
    ("status", "statuses"),
    [("226", dict.fromkeys(TESTS, "Pass")), ("0", {**dict.fromkeys(TESTS, "Pass"), "pcie": "Fail"})],
)
def test_results_that_the_exit_status_contradicts_prove_nothing(machine, status, statuses):
    machine.say("diag", json.dumps(dcgm4(statuses)))
    machine.say("diag-status", status)
    outcome = done(machine)
    assert (outcome.state, outcome.said) == ("failed", None)
    assert "proves nothing" in outcome.detail


def test_without_an_engine_it_is_not_begun(machine):
    """dcgmi would say so on standard output, and then run one of its own."""
    machine.say("discovery", "Error: unable to establish a connection to the specified host: localhost\n")
    machine.say("discovery-status", "235")
    outcome = done(machine)
    assert (outcome.state, outcome.reason) == ("refused", "engine")
    assert "start it (systemctl start nvidia-dcgm)" in outcome.detail
    assert calls(machine) == ["discovery -l"]


def test_results_of_an_engine_within_dcgmi_are_not_taken(machine):
    """The engine ended between the look and the diagnostic."""
    machine.say("diag", "Error: unable to establish a connection\n" + json.dumps(dcgm4(dict.fromkeys(TESTS, "Pass"))))
    assert (done(machine).state, done(machine).said) == ("failed", None)


def test_a_gpu_that_the_engine_does_not_list_is_not_guessed(machine):
    machine.say("discovery", DISCOVERY.replace(UUID, OTHER))
    outcome = done(machine)
    assert (outcome.state, outcome.detail) == ("refused", f"the host engine knows no GPU {UUID}")


def test_results_of_another_gpu_say_nothing(machine):
    machine.say(
        "diag", json.dumps(dcgm4(dict.fromkeys(TESTS, "Pass"))).replace(f'"entity_id": {NUMBER}', '"entity_id": 0')
    )
    outcome = done(machine)
    assert (outcome.state, outcome.detail) == ("failed", f"the output tells nothing of GPU {NUMBER}")


@pytest.mark.parametrize(
    ("status", "words"), [(217, "runs already"), (204, "not installed"), (254, "that level"), (99, "not documented")]
)
def test_an_exit_status_is_told_in_words(machine, status, words):
    machine.say("diag", "")
    machine.say("diag-status", str(status))
    outcome = done(machine)
    assert (outcome.state, outcome.status) == ("failed", status)
    assert words in outcome.detail


@pytest.mark.parametrize("printed", ["", "{", "{}", '{"DCGM Diagnostic": {"runtime_error": "no GPU", "version": "4"}}'])
def test_output_that_is_none_is_a_failure_never_a_pass(machine, printed):
    machine.say("diag", printed)
    assert (done(machine).state, done(machine).said) == ("failed", None)


def test_one_that_hangs_is_killed(machine):
    machine.say("hang", "1")
    outcome = done(machine, diagnose_s=1.0)
    assert (outcome.state, outcome.reason) == ("failed", "deadline")


def test_a_gpu_at_work_is_left_alone(machine):
    machine.say("compute", f"{UUID}, 4242, vllm\n")
    assert (done(machine).state, done(machine).detail) == ("refused", "in use by vllm (4242)")
    machine.say("compute", "")
    with user_of(machine, f"{machine.devices}0") as user:
        assert done(machine).reason == "busy"
        user.stdin.close()


def test_the_engine_itself_may_have_it_open(machine, monkeypatch):
    with user_of(machine, f"{machine.devices}0") as user:
        monkeypatch.setattr(holders, "MONITORS", ((machine.proc / str(user.pid) / "comm").read_text().strip(),))
        assert done(machine).reason == "pass"
        user.stdin.close()


def test_numbers_are_read_by_uuid_whatever_their_order():
    assert numbers(DISCOVERY) == {OTHER: 0, UUID: NUMBER}
    assert numbers("") == {}


def test_no_dcgmi_at_all_is_said_to_be_so(machine):
    outcome = done(machine, dcgmi="/nowhere/dcgmi")
    assert (outcome.state, outcome.detail) == ("refused", "/nowhere/dcgmi: no such file or directory")
