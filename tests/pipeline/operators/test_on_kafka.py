"""Operators' words to a fleet on a real Kafka, and what they see of it there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from pipeline.app import cancel
from pipeline.cli import main
from pipeline.kafka import reading
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from pipeline.runner import run_task
from pipeline.topology import STAGES
from processors.testing import gpu
from schemas import frames, records, topics
from schemas.fields import GPU_TEMP

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(kafka: Kafka, capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    def run(*args: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as exit:
            main([*args, "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix])
        out, err = capfdbinary.readouterr()
        assert (exit.value.code or 0, err) == (0, b"")
        found: dict[str, Any] = json.loads(out)
        return found

    return run


@pytest.fixture
def outcome(kafka: Kafka, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str]]:
    """Exit status of an operator's word, and what was said of it beside what was recorded."""

    def run(*args: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit:
            main([*args, "--author", "ann", "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix])
        out, err = capfdbinary.readouterr()
        assert json.loads(out)["author"] == "ann"
        return int(exit.value.code or 0), err.decode()

    return run


async def stages(kafka: Kafka, until: Callable[[], Awaitable[bool]]) -> None:
    """Both stages over what is on Kafka, until that is so."""
    async with running_stages(kafka), asyncio.timeout(120.0):
        while not await until():
            await asyncio.sleep(0.2)


@asynccontextmanager
async def running_stages(kafka: Kafka) -> AsyncIterator[None]:
    log, ingress = KafkaLog(kafka), KafkaIngress(kafka)
    running = []
    for stage in STAGES:
        spread = topics.TOPICS[stage.input].spread
        for number in range(kafka.partitions if spread else 1):
            ticks = ingress if spread else None
            running.append(
                asyncio.create_task(run_task(stage.part(number), partial(stage.make, number), log, ticks=ticks))
            )
    try:
        yield
    finally:
        await cancel(*running)
        await log.close()
        await ingress.close()


async def newest(kafka: Kafka, topic: str) -> dict[str, Any]:
    """What stands on the topic, by key."""
    found: dict[str, Any] = {}
    places = (await reading.partitions(kafka, topic))[topic]
    async with reading.opened(kafka) as reader:
        async for _, messages in reader.read(await reader.kept(places)):
            found |= {message.key.decode(): json.loads(message.value) for message in messages if message.value}
    return found


async def decided(kafka: Kafka) -> bool:
    """Of each GPU of the fleet."""
    return {gpu("n1", number).uuid for number in range(2)} <= {*await newest(kafka, topics.DECISIONS)}


async def fleet(kafka: Kafka) -> None:
    ingress = KafkaIngress(kafka)
    listed = [gpu("n1", number) for number in range(2)]
    inventory = records.Inventory(
        ts=1, node="n1", gpus=[records.GpuInfo(uuid=each.uuid, bdf=each.bdf) for each in listed], rack="r1"
    )
    frame = frames.build(node="n1", seq=1, gpus=listed, ticks=[1000], columns={GPU_TEMP: [50.0, 50.0]})
    await ingress.append(topics.OBSERVATIONS, [Entry("n1", "inventory", records.encode(inventory))])
    await ingress.append(topics.OBSERVATIONS, [Entry("n1", "telemetry", frames.encode(frame))])
    await ingress.close()


def test_words_reach_the_cluster_stage_and_are_seen(
    kafka: Kafka, call: Call, settled: Callable[[Kafka, str], Awaitable[None]]
) -> None:
    uuid = gpu("n1", 0).uuid
    asyncio.run(fleet(kafka))
    asyncio.run(stages(kafka, partial(decided, kafka)))
    hold = call("hold", "--wait", "0", "--all", "--note", "trial", "--author", "ann")
    drain = call("drain", "--wait", "0", "--gpu", uuid, "--node", "n1", "--author", "ann")
    assert (hold["node"], drain["node"], drain["uuid"]) == ("", "n1", uuid)

    async def heard() -> bool:
        words = [
            word for brakes in (await newest(kafka, topics.BRAKES)).values() for word in brakes.get("standing", [])
        ]
        return len(words) == 2 and bool(await newest(kafka, topics.EVICTIONS))

    async def judged() -> None:
        await stages(kafka, heard)
        await settled(kafka, topics.BRAKES)

    asyncio.run(judged())
    seen = call("cases", "--json")
    [brakes] = seen["brakes"]
    assert {(word["what"], word["scope"], word["author"]) for word in brakes["standing"]} == {
        ("hold", "cluster", "ann"),
        ("drain", f"gpu {uuid}", "ann"),
    }
    [case] = seen["gpus"]
    assert (case["gpu"], case["action"]) == (uuid, "drain")


def test_what_became_of_a_word_is_told(kafka: Kafka, outcome: Callable[..., tuple[int, str]]) -> None:
    asyncio.run(fleet(kafka))
    asyncio.run(stages(kafka, partial(decided, kafka)))
    uuid = gpu("n1", 0).uuid

    async def spoken() -> list[tuple[int, str]]:
        async with running_stages(kafka):
            words = [
                ("hold", "--all", "--note", "trial"),
                ("drain", "--gpu", uuid, "--node", "n1"),
                ("release", "--rack", "nix"),
                ("restore", "--gpu", gpu("n1", 1).uuid),
            ]
            return [await asyncio.to_thread(outcome, *word, "--wait", "60s") for word in words]

    assert asyncio.run(spoken()) == [
        (0, "taken: hold of cluster by ann (unverified): trial\n"),
        (0, f"taken: drain of gpu {uuid} by ann; {uuid} is draining\n"),
        (1, "refused: release: no inventory has named a rack 'nix'\n"),
        (0, "taken: no case and no brake has changed by it yet\n"),
    ]


def test_where_nobody_judges_nothing_is_heard(kafka: Kafka, outcome: Callable[..., tuple[int, str]]) -> None:
    code, said = outcome("hold", "--all", "--wait", "1s")
    assert (code, said.startswith("not known: nothing was heard of it within 1 s; ")) == (0, True)
