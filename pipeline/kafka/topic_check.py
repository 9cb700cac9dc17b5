"""What an existing cluster has otherwise than declared, and the command that mends each difference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError

from pipeline.kafka import admin
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import Wanted, wanted
from schemas.topics import DAY_S

LISTS = ("cleanup.policy",)  # values whose order means nothing


class Difference(NamedTuple):
    """what: as it is, and as it shall be. mend: a command, or what to change where no command can."""

    topic: str
    what: str
    mend: str


class Found(NamedTuple):
    """A topic on the cluster. replicas: by partition, the brokers that hold a copy."""

    replicas: list[list[int]]
    configs: Mapping[str, str]


class Report(NamedTuple):
    """unknown: topics under our prefix that are none of ours."""

    differences: list[Difference]
    unknown: list[str]


async def check(kafka: Kafka, command_config: str | None = None) -> Report:
    """Compare the cluster with the declaration. command_config: file that the commands pass on to Kafka's tools.

    Raises UsageProblem: no broker answers, or it may not be asked.
    """
    expected = wanted(kafka)
    async with admin.connected(kafka) as client:
        brokers = sorted(broker["node_id"] for broker in (await client.describe_cluster())["brokers"])
        # Who may not see a topic is told so only here: in the list of all it would just be missing.
        configs = await _configs(client, [each.name for each in expected])
        listed = {topic["topic"]: topic for topic in await client.describe_topics()}
    found = {name: Found(_replicas(listed[name]), configs[name]) for name in configs.keys() & listed.keys()}
    tool = Tool(kafka.bootstrap, command_config)
    differences = [one for each in expected for one in _differences(each, found.get(each.name), brokers, tool)]
    ours = {each.name for each in expected}
    unknown = sorted(name for name in listed if name.startswith(kafka.prefix) and name not in ours)
    return Report(differences, unknown)


class Tool(NamedTuple):
    """How Kafka's own scripts are called for this cluster."""

    bootstrap: str
    command_config: str | None = None

    def line(self, script: str, *arguments: str) -> str:
        connection = [f"--bootstrap-server {self.bootstrap}"]
        if self.command_config:
            connection.append(f"--command-config {self.command_config}")
        return " ".join([script, *connection, *arguments])


async def _configs(client: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of those that exist."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = {}
    for response in await client.describe_configs(resources):
        for code, _, _, name, entries in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                continue
            admin.demand(code, f"may not read the configuration of {name}")
            configs[name] = {key: value for key, value, *_ in entries}
    return configs


def _replicas(topic: Mapping[str, Any]) -> list[list[int]]:
    partitions = sorted(topic["partitions"], key=lambda partition: int(partition["partition"]))
    return [list(partition["replicas"]) for partition in partitions]


def _differences(each: Wanted, found: Found | None, brokers: Sequence[int], tool: Tool) -> Iterator[Difference]:
    if found is None:
        yield Difference(each.name, "is missing", "gpu-vitals topics create")
        return
    if len(found.replicas) != each.partitions:
        what = f"partitions: {len(found.replicas)}, not {each.partitions}"
        yield Difference(each.name, what, _mend_partitions(each, len(found.replicas)))
    copies = min(map(len, found.replicas))
    if any(len(replicas) != each.replication for replicas in found.replicas):
        mend = _mend_replication(each, found, brokers, tool)
        yield Difference(each.name, f"replication: {copies}, not {each.replication}", mend)
    for key, value in each.configs.items():
        actual = found.configs.get(key, "")
        if actual != value and not (key in LISTS and set(actual.split(",")) == set(value.split(","))):
            what = f"{key}: {_readable(key, actual)}, not {_readable(key, value)}"
            change = ["--alter --entity-type topics", f"--entity-name {each.name}", f"--add-config {key}={value}"]
            mend = tool.line("kafka-configs.sh", *change)
            # Too early it would refuse every record.
            early = key == "min.insync.replicas" and int(value) > copies
            yield Difference(each.name, what, f"once there are {value} copies: {mend}" if early else mend)


def _mend_partitions(each: Wanted, actual: int) -> str:
    if not each.topic.spread:
        return "records of one order lie apart: delete the topic, raise kafka.generation, gpu-vitals topics create"
    if each.partitions % actual == 0:
        return f"gpu-vitals topics reshard --partitions {each.partitions}"
    if each.partitions > actual:
        return f"set kafka.partitions to {actual} or to a multiple of it, then gpu-vitals topics reshard"
    return f"set kafka.partitions = {actual} in the settings: a topic never shrinks"


def _mend_replication(each: Wanted, found: Found, brokers: Sequence[int], tool: Tool) -> str:
    if each.replication > len(brokers):
        return f"the cluster has {len(brokers)} of the {each.replication} brokers that takes: start more, or lower it"
    plan = {
        "version": 1,
        "partitions": [
            {"topic": each.name, "partition": partition, "replicas": placed(held, each.replication, brokers, partition)}
            for partition, held in enumerate(found.replicas)
        ],
    }
    file = f"{each.name}.json"
    written = f"echo '{json.dumps(plan, separators=(',', ':'))}' > {file}"
    moved = tool.line("kafka-reassign-partitions.sh", f"--reassignment-json-file {file}", "--execute")
    return f"{written} && {moved}"


def placed(held: Sequence[int], copies: int, brokers: Sequence[int], partition: int) -> list[int]:
    """The brokers of a partition that shall have `copies`: those that hold it first, then others in turn."""
    turn = partition % len(brokers)
    others = [broker for broker in (*brokers[turn:], *brokers[:turn]) if broker not in held]
    return [*held, *others][:copies]


def _readable(key: str, value: str) -> str:
    if key == "retention.ms" and value.isdigit() and int(value) % (DAY_S * 1000) == 0:
        return f"{value} ({int(value) // (DAY_S * 1000)} days)"
    return value or "not set"
