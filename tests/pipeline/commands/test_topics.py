"""`gpu-vitals topics` as it is typed: what it prints, and its exit status."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner

from pipeline.cli import COMMANDS
from pipeline.commands.topics import ROLES, command
from pipeline.errors import UsageProblem
from pipeline.kafka import acls
from pipeline.kafka.settings import Kafka
from schemas.topics import STATES, TOPICS

NOWHERE = "127.0.0.1:1"


def invoke(*args: str, kafka: Kafka | None = None, **settings: str):
    """(exit status, what was printed, what was noted beside it)."""
    environment = {f"GPU_VITALS_KAFKA_{name.upper()}": value for name, value in settings.items()}
    reach = ["--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix] if kafka else []
    done = CliRunner(env=environment).invoke(command, [*args, *reach], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value or 0, done.stdout, done.stderr


def test_it_is_listed():
    assert "topics" in COMMANDS


def test_the_plan_asks_no_broker_and_lists_every_topic_with_all_it_is_made_with():
    _, shown, _ = invoke("plan", bootstrap=NOWHERE, partitions="134", replication="3")
    head, *lines = shown.splitlines()
    assert head.split() == ["topic", "partitions", "replication", "kept", "time", "record", "up", "to", "holds"]
    assert len(lines) == len(TOPICS) + 1
    assert lines[0].split()[:8] == ["gpu-vitals.observations", "134", "3", "7", "days", "LogAppendTime", "1", "MiB"]
    decisions = next(line for line in lines if line.startswith("gpu-vitals.decisions"))
    assert decisions.split()[1:6] == ["1", "3", "compacted", "CreateTime", "1"]
    assert decisions.endswith(TOPICS["decisions"].about)


def test_the_plan_as_json_speaks_kafkas_own_words():
    _, shown, _ = invoke("plan", "--json", prefix="fleet-b.", replication="3")
    topics = {topic["name"]: topic for topic in json.loads(shown)["topics"]}
    assert topics["fleet-b.checkpoints"]["about"] == STATES.about
    assert topics["fleet-b.observations"] == {
        "name": "fleet-b.observations",
        "partitions": 8,
        "replication": 3,
        "configs": {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": "1048576",
            "min.insync.replicas": "2",
            "cleanup.policy": "delete",
            "retention.ms": "604800000",
        },
        "key": "node",
        "about": TOPICS["observations"].about,
    }


def test_create_says_of_each_topic_whether_it_was_there(unmade: Kafka):
    status, shown, _ = invoke("create", kafka=unmade)
    assert status == 0
    assert {line.split()[1] for line in shown.splitlines()} == {"created"}
    _, shown, _ = invoke("create", kafka=unmade)
    assert shown.splitlines()[0].split() == [f"{unmade.prefix}observations", "exists"]
    assert {line.split()[1] for line in shown.splitlines()} == {"exists"}


def test_check_exits_0_when_equal_and_1_when_not(unmade: Kafka):
    status, shown, _ = invoke("check", kafka=unmade)
    assert status == 1
    assert f"{unmade.prefix}decisions: is missing\n  mend: gpu-vitals topics create\n" in shown
    invoke("create", kafka=unmade)
    assert invoke("check", kafka=unmade)[:2] == (0, f"equal: {len(TOPICS) + 1} topics\n")
    status, shown, _ = invoke("check", kafka=unmade, partitions="16")
    assert status == 1
    assert shown.count("mend: gpu-vitals topics reshard --partitions 16") == 2


def test_the_commands_that_are_printed_connect_as_they_are_told_to(unmade: Kafka):
    invoke("create", kafka=unmade)
    _, shown, _ = invoke("check", "--command-config", "admin.properties", kafka=unmade, replication="3")
    assert f"kafka-configs.sh --bootstrap-server {unmade.bootstrap} --command-config admin.properties --alter" in shown


@pytest.mark.parametrize("name", ["create", "check", "reshard"])
def test_without_a_broker_each_says_so(name: str):
    with pytest.raises(UsageProblem, match=f'kafka: no broker answers: "{NOWHERE}"'):
        invoke(name, "--bootstrap", NOWHERE)


def test_acls_are_commands_for_each_role_by_a_comment_that_says_what_it_is():
    _, shown, _ = invoke("acls", bootstrap=NOWHERE)
    assert [line.split(":")[0] for line in shown.splitlines() if line.startswith("#")] == [f"# {r}" for r in ROLES]
    lines = [shlex.split(line) for line in shown.splitlines() if not line.startswith("#")]
    assert {line[0] for line in lines} == {"kafka-acls.sh"}
    assert {line[line.index("--allow-principal") + 1] for line in lines} == {f"User:gpu-vitals-{r}" for r in ROLES}


def test_acls_of_one_role_for_one_principal():
    _, shown, _ = invoke(
        "acls", "--role", "reader", "--principal", "User:CN=scheduler,O=x y", "--command-config", "a.p"
    )
    about, *lines = shown.splitlines()
    assert about.startswith("# reader: ")
    for line in lines:
        assert shlex.split(line)[3:8] == [
            "--command-config",
            "a.p",
            "--add",
            "--allow-principal",
            "User:CN=scheduler,O=x y",
        ]


def test_the_roles_that_are_offered_are_those_there_are():
    assert tuple(acls.ROLES) == ROLES


def test_reshard_tells_its_steps_and_what_is_left_to_do(unmade: Kafka):
    invoke("create", kafka=unmade, partitions="2")
    _, shown, beside = invoke("reshard", "--partitions", "4", kafka=unmade, partitions="2")
    assert shown == "observations: 4 partitions, 2 before\n"
    assert beside.splitlines() == [
        "checkpoints: 4 partitions",
        "observations: 4 partitions",
        "note: set partitions = 4 in [kafka] of every settings file",
    ]
    assert invoke("reshard", kafka=unmade, partitions="4") == (0, "observations: 4 partitions, as before\n", "")
