"""Topics as they are created and compared, on a real broker; the printed commands mend what differs."""

from __future__ import annotations

import asyncio
import logging
import shlex
import socket
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.errors import UsageProblem
from pipeline.kafka import admin, topics
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topic_check import check, placed
from scripts.kafka_broker import HOST, Broker, free_port, tool

CLASSES = {
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-reassign-partitions.sh": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
}


SETTLED_S = 60.0


def run(line: str) -> str:
    """A printed command, as the scripts in Kafka's bin/ would run it."""
    script, *arguments = shlex.split(line)
    return tool(CLASSES[script], *arguments)


def differences(kafka: Kafka) -> dict[tuple[str, str], str]:
    report = asyncio.run(check(kafka))
    return {(each.topic.removeprefix(kafka.prefix), each.what): each.mend for each in report.differences}


def differences_when_settled(kafka: Kafka, expected: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A broker shows a moment later what has been altered."""
    deadline = time.monotonic() + SETTLED_S
    while set(found := differences(kafka)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_what_was_created_is_equal_to_what_was_planned(unmade: Kafka):
    missing = differences(unmade)
    assert set(missing.values()) == {"gpu-vitals topics create"}
    assert len(missing) == len(topics.wanted(unmade))
    assert asyncio.run(topics.create(unmade)) == [each.name for each in topics.wanted(unmade)]
    assert differences(unmade) == {}


def test_what_exists_is_left_alone_and_what_is_missing_is_created(unmade: Kafka):
    decisions = unmade.topic("decisions")

    async def make_one():
        async with admin.connected(unmade) as client:
            await client.create_topics([NewTopic(decisions, 3, 1, topic_configs={"cleanup.policy": "delete"})])

    asyncio.run(make_one())
    created = asyncio.run(topics.create(unmade))
    assert set(created) == {each.name for each in topics.wanted(unmade)} - {decisions}
    assert ("decisions", "partitions: 3, not 1") in differences(unmade)
    assert asyncio.run(topics.create(unmade)) == []


def test_each_printed_command_mends_its_difference(kafka: Kafka):
    spoiled = {
        "observations": {"retention.ms": "3600000", "max.message.bytes": "1048576"},
        "decisions": {
            "cleanup.policy": "compact,delete",
            "max.message.bytes": "1048576",
            "segment.bytes": str(topics.SEGMENT_BYTES),
        },
        "checkpoints": {
            "cleanup.policy": "compact",
            "max.message.bytes": "2000",
            "min.insync.replicas": "2",
            "segment.bytes": str(topics.SEGMENT_BYTES),
        },
    }

    async def spoil():
        async with admin.connected(kafka) as client:
            whole = [
                ConfigResource(ConfigResourceType.TOPIC, kafka.topic(name), configs)
                for name, configs in spoiled.items()
            ]
            await client.alter_configs(whole)

    asyncio.run(spoil())
    expected = {
        ("observations", "message.timestamp.type: CreateTime, not LogAppendTime"),
        ("observations", "retention.ms: 3600000, not 604800000 (7 days)"),
        ("decisions", "cleanup.policy: compact,delete, not compact"),
        ("checkpoints", "max.message.bytes: 2000, not 1048576"),
        ("checkpoints", "min.insync.replicas: 2, not 1"),
    }
    found = differences_when_settled(kafka, expected)
    assert set(found) == expected
    for mend in found.values():
        run(mend)
    assert differences_when_settled(kafka, set()) == {}


def test_numbers_of_partitions_are_mended_by_growing_or_by_saying_what_there_is(kafka: Kafka):
    def mend(partitions: int) -> str:
        wished = msgspec.structs.replace(kafka, partitions=partitions)
        return differences(wished)["observations", f"partitions: 2, not {partitions}"]

    assert mend(6) == "gpu-vitals topics reshard --partitions 6"
    assert mend(3) == "set kafka.partitions to 2 or to a multiple of it, then gpu-vitals topics reshard"
    assert mend(1) == "set kafka.partitions = 2 in the settings: a topic never shrinks"


def test_more_copies_than_brokers_are_refused_by_name_and_number(unmade: Kafka):
    wished = msgspec.structs.replace(unmade, replication=3)
    with pytest.raises(UsageProblem) as problem:
        asyncio.run(topics.create(wished))
    assert problem.value.text == "kafka.replication: 3 copies of each partition, and the cluster has 1 broker"
    assert problem.value.help == "lower it, or start more brokers"


def test_missing_copies_and_what_may_not_be_set_before_they_are_there(kafka: Kafka):
    wished = msgspec.structs.replace(kafka, replication=3)
    found = differences(wished)
    assert found["scores", "replication: 1, not 3"].startswith("the cluster has 1 of the 3 brokers")
    assert found["scores", "min.insync.replicas: 1, not 2"].startswith("once there are 2 copies: kafka-configs.sh")


def test_copies_are_added_by_the_printed_command(own_broker: Broker, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=2)
    asyncio.run(topics.create(kafka))
    properties = dict(
        line.split("=", 1) for line in (own_broker.directory / "server.properties").read_text().splitlines()
    )
    port = free_port()
    joining = {
        "process.roles": "broker",
        "node.id": "2",
        "listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": properties["controller.quorum.voters"],
    }
    second = Broker(tmp_path / "second", port, joining)
    second.start()
    try:
        wished = msgspec.structs.replace(kafka, replication=2)
        while "kafka-reassign" not in (mend := differences(wished)["observations", "replication: 1, not 2"]):
            time.sleep(0.1)  # the second broker has not joined yet
        echo, moved = mend.split(" && ")
        subprocess.run(["bash", "-c", echo], check=True)
        run(moved)
        deadline = time.monotonic() + 60
        while ("observations", "replication: 1, not 2") in differences(wished):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        second.kill()


@pytest.mark.parametrize(
    ("held", "copies", "partition", "expected"),
    [
        ([2], 3, 0, [2, 1, 3]),
        ([2], 3, 1, [2, 3, 1]),
        ([1, 2, 3], 2, 0, [1, 2]),
        ([3], 2, 2, [3, 1]),
    ],
)
def test_a_partition_keeps_the_brokers_it_has_when_copies_are_added(held, copies, partition, expected):
    assert placed(held, copies, [1, 2, 3], partition) == expected


def test_topics_of_unknown_origin_under_our_prefix_are_named(kafka: Kafka):
    async def make_others():
        async with admin.connected(kafka) as client:
            await client.create_topics([NewTopic(kafka.topic("horoscopes"), 1, 1), NewTopic("else", 1, 1)])
            while kafka.topic("horoscopes") not in await client.list_topics():
                await asyncio.sleep(0.02)

    asyncio.run(make_others())
    report = asyncio.run(check(kafka))
    assert report.unknown == [kafka.topic("horoscopes")]
    assert report.differences == []


def test_a_name_that_kafka_refuses_is_refused_with_its_reason(unmade: Kafka):
    with pytest.raises(UsageProblem, match="was not created: Topic name is invalid"):
        asyncio.run(topics.create(msgspec.structs.replace(unmade, prefix="our fleet.")))


def test_no_broker_is_one_clear_line_at_once(caplog):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        with pytest.raises(UsageProblem, match=rf'^kafka: no broker answers: "127\.0\.0\.1:{port}": .*refused|failed'):
            asyncio.run(topics.create(Kafka(bootstrap=f"127.0.0.1:{port}")))
    assert caplog.records == []


def test_two_who_ask_at_once_leave_the_clients_log_as_it_was(kafka: Kafka):
    log = logging.getLogger("aiokafka")
    before = (log.level, log.propagate, list(log.handlers))

    async def overlapping() -> None:
        first, second = admin.connected(kafka), admin.connected(kafka)
        await first.__aenter__()
        await second.__aenter__()
        await first.__aexit__(None, None, None)
        assert not log.propagate  # the second still listens
        await second.__aexit__(None, None, None)

    asyncio.run(overlapping())
    assert (log.level, log.propagate, list(log.handlers)) == before


def test_a_silent_broker_is_given_up_and_the_one_beside_it_asked(bootstrap: str, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        with monkeypatch.context() as impatient:
            impatient.setattr(admin, "ANSWER_S", 0.5)
            with pytest.raises(UsageProblem, match=r"^kafka: no broker answers: silent for 0\.5 s"):
                asyncio.run(check(Kafka(bootstrap=where)))
        assert asyncio.run(check(Kafka(bootstrap=f"{where},{bootstrap}", prefix="nowhere."))).differences


@pytest.mark.parametrize("bootstrap", ["broker:kafka", "broker:", "a:1:2", "a:99999", "a:1,,b:2", "", "[::1"])
def test_what_is_no_address_is_refused_by_whoever_would_connect(bootstrap: str):
    with pytest.raises(UsageProblem, match=r"^kafka\.bootstrap: '.*' is no address of a broker"):
        Kafka(bootstrap=bootstrap).client()


@pytest.mark.parametrize("bootstrap", ["broker", "k-1.example:9092, 10.0.0.2:9093", "[::1]:9092"])
def test_an_address_is_taken_as_it_is(bootstrap: str):
    assert Kafka(bootstrap=bootstrap).client()["bootstrap_servers"] == bootstrap
