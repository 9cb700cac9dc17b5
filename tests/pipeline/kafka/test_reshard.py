"""Partitions are split on a real broker: every node's state goes with it, whatever interrupts that."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import uuid
from contextlib import suppress

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from pipeline.errors import UsageProblem
from pipeline.kafka import reading, topics
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.reshard import NODE, reshard
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topic_check import check
from pipeline.log import Entry
from pipeline.worker import Worker
from processors import split
from processors.testing import Observations
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP
from schemas.log import Checkpoint
from schemas.partitions import partition_of

NODES = [f"node-{number}" for number in range(8)]


def said(until_s: int = 30) -> Observations:
    """Counters that move, a latched fault on each third node, ticks for all."""
    log = Observations()
    for second in range(0, until_s, 5):
        for number, node in enumerate(NODES):
            log.frame(node, second, {GPU_TEMP: [50 + number, 60], ECC_SBE_VOLATILE: [second * number, 0]})
            if second == 10 and number % 3 == 0:
                log.fault(node, second, 48)
    return log


async def append(kafka: Kafka, log: Observations) -> None:
    ingress = KafkaIngress(kafka)
    try:
        await ingress.append("observations", [Entry(r.key, r.kind, r.value) for r in log.records])
    finally:
        await ingress.close()


async def ends(kafka: Kafka) -> list[int]:
    places = (await reading.partitions(kafka, "observations"))["observations"]
    async with reading.opened(kafka) as reader:
        return [span.end for span in await reader.kept(places)]


async def work(kafka: Kafka, *, save: bool = True) -> None:
    """What workers do: judge all there is, commit outputs and positions, and the states if `save`."""
    log = KafkaLog(kafka)
    try:
        for partition, end in enumerate(await ends(kafka)):
            part = NODE.part(partition)
            task = NODE.make(partition)
            checkpoint, position = await log.restore(part)
            if checkpoint:
                task.restore(checkpoint)
            offset = checkpoint.next_offset if checkpoint else 0
            outputs = []
            batches = log.read(part, offset)
            while offset < end:
                if batch := await anext(batches):
                    outputs += task.step(batch)
                    offset = batch[-1].offset + 1
            await batches.aclose()
            fresh = [output for output in outputs if output.offset >= position]
            await log.commit(part, fresh, offset, task.checkpoint() if save else None)
    finally:
        await log.close()


async def states(kafka: Kafka) -> dict[int, Checkpoint | None]:
    """What a worker would start with, by partition; ValueError where it would refuse to."""
    log = KafkaLog(kafka)
    try:
        found = {}
        for partition in range(len(await ends(kafka))):
            found[partition], _ = await log.restore(NODE.part(partition))
        return found
    finally:
        await log.close()


def by_node(saved: dict[int, Checkpoint | None]) -> dict[str, bytes]:
    """Each node's own part of the states; each node lies where its records go, and nowhere else."""
    found = {}
    for partition, state in saved.items():
        for node in split.nodes_of(state) if state else ():
            assert partition_of(node, len(saved)) == partition, f"{node} in {partition} of {len(saved)}"
            found[node] = split.keep(state, {node}.__contains__, next_offset=0, with_counts=False).data
    return found


async def owned(kafka: Kafka) -> dict[str, bytes]:
    return by_node(await states(kafka))


async def prepared(kafka: Kafka) -> dict[str, bytes]:
    await topics.create(kafka)
    await append(kafka, said())
    await work(kafka)
    return await owned(kafka)


def fresh(kafka: Kafka) -> Kafka:
    return msgspec.structs.replace(kafka, prefix=f"t{uuid.uuid4().hex[:8]}.")


def test_every_node_takes_its_state_along_and_is_judged_where_its_records_go(unmade: Kafka):
    async def story():
        before = await prepared(unmade)
        assert set(before) == set(NODES)
        counted = await ends(unmade)
        assert await reshard(unmade, 6) == 2
        grown = await states(unmade)
        assert by_node(grown) == before
        assert [state.next_offset if state else 0 for state in grown.values()] == [*counted, 0, 0, 0, 0]

        await append(unmade, Observations().fault(NODES[1], 40, 79, seq=5).fault(NODES[6], 41, 79, seq=5))
        await work(unmade)
        after = await owned(unmade)
        assert {node for node in NODES if after[node] != before[node]} == {NODES[1], NODES[6]}
        assert (await check(msgspec.structs.replace(unmade, partitions=6))).differences == []

    asyncio.run(story())


def test_a_state_older_than_its_position_is_brought_up_to_it_first(unmade: Kafka):
    async def story():
        await topics.create(unmade)
        await append(unmade, said(15))
        await work(unmade)
        await append(unmade, Observations().fault(NODES[0], 20, 79, seq=5).fault(NODES[1], 20, 79, seq=5))
        await work(unmade, save=False)
        await reshard(unmade, 4)
        grown = await states(unmade)
        faults = {}
        for state in grown.values():
            task = NODE.make(0)
            task.restore(state)
            for row, node in enumerate(task.roster.node_of):
                faults[node] = faults.get(node, False) or bool(task.judges.board.scores([row])[0] == 0.0)
        assert faults[NODES[0]]
        assert faults[NODES[1]]
        assert not faults[NODES[2]]

    asyncio.run(story())


class Killed(Exception):
    pass


def test_it_can_end_before_every_step_and_be_run_again(unmade: Kafka):
    """Meanwhile a worker finds each node's whole state in its partition, or refuses to start."""

    async def one(kafka: Kafka, steps_allowed: int) -> bool:
        before = await prepared(kafka)
        steps = itertools.count()

        def reach(step: str) -> None:
            if next(steps) == steps_allowed:
                raise Killed(step)

        try:
            await reshard(kafka, 4, reach)
        except Killed:
            with suppress(ValueError):  # a worker refuses to start
                assert await owned(kafka) == before
            assert await reshard(kafka, 4) in (2, 4)
            assert await owned(kafka) == before
            return True
        assert await owned(kafka) == before
        return False

    for allowed in itertools.count():
        if not asyncio.run(one(fresh(unmade), allowed)):
            break
    assert allowed == 10  # checkpoints; 2 marks; 2 states given; observations; 4 states settled


@pytest.mark.timeout(1800)  # on a slow machine it begins late, and is killed the more often
def test_killed_at_whatever_moment_it_is_run_again(unmade: Kafka):
    """As `kill -9` does it, later each time, until it has come to its end."""
    before = asyncio.run(prepared(unmade))
    argv = [sys.executable, "-m", "pipeline", "topics", "reshard", "--partitions", "4"]
    argv += ["--bootstrap", unmade.bootstrap, "--prefix", unmade.prefix]
    killed = 0
    for attempt in itertools.count():
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with process:
            try:
                said, _ = process.communicate(timeout=0.25 + 0.05 * attempt)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
                said = b""
        if said:
            break
        with suppress(ValueError):  # a worker refuses to start
            assert asyncio.run(owned(unmade)) == before
    assert process.returncode == 0, said.decode()
    assert asyncio.run(owned(unmade)) == before
    assert killed > 2


def test_workers_refuse_what_has_not_ended_and_take_up_all_when_it_has(unmade: Kafka):
    async def until_it_works() -> set[int]:
        worker, stop = Worker(unmade, "one", [NODE]), asyncio.Event()
        run = asyncio.create_task(worker.run(stop))
        while worker.waiting() and not run.done():
            await asyncio.sleep(0.05)
        partitions = {part.partition for part in worker.running}
        stop.set()
        await run
        return partitions

    async def story():
        before = await prepared(unmade)

        def reach(step: str) -> None:
            if step.startswith("node/0: keeps"):
                raise Killed

        with pytest.raises(Killed):
            await reshard(unmade, 4, reach)
        with pytest.raises(ValueError, match="has not ended: run it again"):
            await until_it_works()
        await reshard(unmade, 4)
        assert await until_it_works() == {0, 1, 2, 3}
        assert set(await owned(unmade)) == set(before)

    asyncio.run(story())


def test_again_with_the_same_number_does_nothing(unmade: Kafka):
    async def story():
        await prepared(unmade)
        await reshard(unmade, 4)
        steps: list[str] = []
        assert await reshard(unmade, 4, steps.append) == 4
        assert steps == []

    asyncio.run(story())


def test_a_fleet_that_has_never_said_anything_grows_as_well(kafka: Kafka):
    assert asyncio.run(reshard(kafka, 4)) == 2
    assert set(asyncio.run(states(kafka)).values()) == {None}


def test_growing_twice_is_growing_once_by_more(unmade: Kafka):
    async def story():
        before = await prepared(unmade)
        await reshard(unmade, 4)
        await append(unmade, Observations().fault(NODES[1], 40, 79, seq=5))
        await work(unmade)
        moved = await owned(unmade)
        await reshard(unmade, 12)
        assert await owned(unmade) == moved
        assert set(moved) == set(before)

    asyncio.run(story())


@pytest.mark.parametrize("wished", [1, 3])
def test_a_number_that_does_not_fit_is_refused_with_those_that_do(kafka: Kafka, wished: int):
    with pytest.raises(UsageProblem) as problem:
        asyncio.run(reshard(kafka, wished))
    assert problem.value.text == f"2 partitions cannot become {wished}"
    assert problem.value.help.endswith("these fit: 4, 6, 8 and so on")


def test_workers_that_run_are_named(kafka: Kafka):
    async def story():
        group = kafka.group("cluster")
        member = AIOKafkaConsumer(kafka.topic("fleet-events"), **kafka.client(), group_id=group)
        await member.start()
        try:
            with pytest.raises(UsageProblem, match=f"group {group} still has 1 worker: gpu-vitals") as problem:
                await reshard(kafka, 4)
        finally:
            await member.stop()
        assert "stop the workers" in problem.value.help

    asyncio.run(story())


def test_records_that_wait_are_refused_and_ticks_are_not(unmade: Kafka):
    async def story():
        await prepared(unmade)
        await append(unmade, Observations().tick(40))
        ready = await owned(unmade)
        await append(unmade, Observations().fault(NODES[0], 41, 79, seq=5))
        with pytest.raises(UsageProblem, match=r"observations/\d: records from offset \d+ on wait to be judged"):
            await reshard(unmade, 4)
        assert await owned(unmade) == ready
        await work(unmade)
        await append(unmade, Observations().tick(42))
        assert await reshard(unmade, 4) == 2

    asyncio.run(story())


def test_records_that_come_while_it_is_interrupted_are_judged_by_the_workers_before(unmade: Kafka):
    async def story():
        before = await prepared(unmade)

        def reach(step: str) -> None:
            if step.startswith("observations"):
                raise Killed

        with pytest.raises(Killed):
            await reshard(unmade, 4, reach)
        with pytest.raises(ValueError, match="`gpu-vitals topics reshard` was begun and has not ended: run it again"):
            await states(unmade)
        await append(unmade, Observations().fault(NODES[1], 40, 79, seq=5))
        with pytest.raises(UsageProblem, match="wait to be judged"):
            await reshard(unmade, 4)
        await work(unmade)
        judged = await owned(unmade)
        assert judged != before
        assert await reshard(unmade, 4) == 2
        assert await owned(unmade) == judged

    asyncio.run(story())


def test_it_is_given_up_by_asking_for_the_present_number(unmade: Kafka):
    async def story():
        before = await prepared(unmade)

        def reach(step: str) -> None:
            if step.startswith("observations"):
                raise Killed

        with pytest.raises(Killed):
            await reshard(unmade, 4, reach)
        assert await reshard(unmade, 2) == 2
        assert await owned(unmade) == before
        await reshard(unmade, 6)
        assert await owned(unmade) == before

    asyncio.run(story())


def test_one_that_was_begun_is_ended_with_its_own_number(unmade: Kafka):
    async def story():
        await prepared(unmade)

        def reach(step: str) -> None:
            if step.startswith("node/2"):
                raise Killed

        with pytest.raises(Killed):
            await reshard(unmade, 4, reach)
        with pytest.raises(UsageProblem, match=r"a reshard to 4 partitions was begun .* 6 are asked for") as problem:
            await reshard(unmade, 6)
        assert problem.value.help == "end it first: gpu-vitals topics reshard --partitions 4"

    asyncio.run(story())
