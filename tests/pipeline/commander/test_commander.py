"""From a case to the node and back, on a real Kafka: each order is done once, however often the commander dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys

import msgspec
import pytest

from pipeline import command_inbox
from pipeline.clock import wall_ms
from pipeline.command_inbox import CommandInbox
from pipeline.kafka import reading
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import publish
from pipeline.kafka.topics import create
from pipeline.log import Entry
from pipeline.node_commands.desk import Desk
from pipeline.node_commands.journal import Journal
from pipeline.node_commands.keys import PrivateKey, write_private
from pipeline.runner import run_task
from processors.node import NodeTask
from producers.commands.hands import Hands
from schemas import records, topics
from schemas.log import Output, Part
from tests.pipeline.kafka.test_sink_process import sink, wait_for
from tests.pipeline.node_commands.scripted_desk import HERE, KEYS, PRIVATE
from tests.producers.commands.standins import BDF, OTHER, OTHER_BDF, UUID, Machine
from tests.sinks.commander.cases import eviction, order

GPUS = {"n1": (UUID, BDF), "n2": (OTHER, OTHER_BDF)}
WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(command_inbox, "AGAIN_S", 0.05)
    monkeypatch.setattr(command_inbox, "POLL_MS", 100)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    made.use(monkeypatch.setattr)
    return made


@pytest.fixture
def key(tmp_path, monkeypatch):
    path = str(tmp_path / "k1.key")
    write_private(path, PrivateKey("k1", PRIVATE))
    monkeypatch.setenv("GPU_VITALS_COMMANDER_KEY", path)
    monkeypatch.setenv("GPU_VITALS_COMMANDER_ENABLED", "true")
    return path


def case(node, number, **more):
    """What the cluster stage says of the one GPU of that node."""
    uuid, bdf = GPUS[node]
    fields = {"ts": wall_ms(), "node": node, "uuid": uuid, "bdf": bdf, **more}
    made = msgspec.structs.replace(eviction(), **fields)
    return Output(topics.EVICTIONS, uuid, "eviction", records.encode(made), made.ts, number, 0, urgent=True)


def ordered(node, id_, number, **more):
    return case(node, number, order=order(id_, at=wall_ms()), **more)


class Node:
    """The commands of a node's agent: a real desk before a stand-in of nvidia-smi. What it says is on Kafka."""

    def __init__(self, kafka, machine, name, enabled):
        self.said = []
        self._ingress = KafkaIngress(kafka)
        self._inbox = CommandInbox(kafka, name, None, self._passed)
        self._desk = Desk(
            lambda: HERE._replace(node=name, cluster="c1"),
            lambda: KEYS,
            Journal(machine.directory / f"{name}.journal"),
            Hands(machine.programs, []),
            self._report,
            enabled=enabled,
        )

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self._inbox.run(self._desk))
        try:
            await until(lambda: self._inbox._next is not None)
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._desk.close()
            await self._ingress.close()

    async def _passed(self, position):
        pass

    async def _report(self, said):
        await self._ingress.append(topics.OBSERVATIONS, [Entry(each.node, each.kind, each.value) for each in said])
        self.said += [msgspec.json.decode(each.value, type=records.CommandResult) for each in said]
        return True

    def states(self, id_):
        return [result.state for result in self.said if result.id == id_]

    def answered(self, id_):
        return {"done", "failed", "dry-run", "cancelled", "indeterminate"} & {*self.states(id_)}


async def until(true):
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def nodes(kafka, machine, enabled=True):
    async with contextlib.AsyncExitStack() as stack:
        made = {name: Node(kafka, machine, name, enabled) for name in GPUS}
        for node in made.values():
            await stack.enter_async_context(node.running())
        yield made


@contextlib.asynccontextmanager
async def node_stage(kafka):
    log = KafkaLog(kafka)
    parts = [Part("node", topics.OBSERVATIONS, at) for at in range(kafka.partitions)]
    tasks = [asyncio.create_task(run_task(part, lambda part=part: NodeTask(part.partition), log)) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.close()


async def results(kafka):
    """(id, state) of all command results that the cluster stage is given."""
    found = []
    places = (await reading.partitions(kafka, topics.FLEET_EVENTS))[topics.FLEET_EVENTS]
    async with reading.opened(kafka) as reader:
        async for _, messages in reader.read(await reader.kept(places)):
            for message in messages:
                if dict(message.headers).get("kind") == b"command-result":
                    result = msgspec.json.decode(message.value, type=records.CommandResult)
                    found.append((result.id, result.state))
    return found


async def commands(kafka):
    """All that stands on `commands`."""
    places = (await reading.partitions(kafka, topics.COMMANDS))[topics.COMMANDS]
    async with reading.opened(kafka) as reader:
        return [
            msgspec.json.decode(message.value, type=records.Command)
            async for _, messages in reader.read(await reader.kept(places))
            for message in messages
        ]


@pytest.mark.parametrize(("enabled", "ends"), [(False, ["dry-run"]), (True, ["started", "done"])])
def test_an_order_reaches_its_node_and_its_result_the_cluster_stage(kafka: Kafka, machine, key, enabled, ends) -> None:
    async def run():
        async with nodes(kafka, machine, enabled) as made, node_stage(kafka):
            await publish(kafka, [ordered("n1", "o1", 0)])
            await publish(kafka, [ordered("n2", "never", 1)], commit=False)
            with sink(kafka, "commander", "--listen", "0") as commander:
                await until(lambda: made["n1"].answered("o1"))
                async with asyncio.timeout(WAIT_S):
                    while [state for id_, state in await results(kafka) if id_ == "o1"] != ends:
                        await asyncio.sleep(0.1)
                shown = (await asyncio.to_thread(commander.ask, "/metrics"))[1]
                ready = (await asyncio.to_thread(commander.ask, "/readyz"))[0]
                ended = await asyncio.to_thread(commander.end)
            return made, shown, ready, ended

    made, shown, ready, ended = asyncio.run(run())
    assert (ready, ended) == (200, 0)
    assert 'gpu_vitals_commander_commands_total{action="reset"} 1.0' in shown
    assert "gpu_vitals_commander_waiting 0.0" in shown
    assert [made["n1"].said[-1].author, made["n1"].said[-1].case] == ["gpu-vitals", "inc-1"]
    assert made["n2"].said == []
    assert machine.resets() == ([f"--gpu-reset -i {UUID}"] if enabled else [])


def test_what_is_taken_back_while_it_waits_is_not_done(kafka: Kafka, machine, key) -> None:
    """The reset of another GPU of the node goes on for so long."""
    machine.hold()

    async def run():
        async with nodes(kafka, machine) as made:
            await publish(kafka, [ordered("n1", "o1", 0)])
            with sink(kafka, "commander"):
                await until(lambda: made["n1"].states("o1") == ["started"])
                waits = msgspec.structs.replace(eviction(3, ts=wall_ms()), uuid=OTHER, bdf=OTHER_BDF)
                waits.order = order("o2", at=waits.ts)
                output = Output(topics.EVICTIONS, OTHER, "eviction", records.encode(waits), waits.ts, 1, 0)
                await publish(kafka, [output])
                await until(lambda: made["n1"]._desk.journal.entries.get("o2"))
                waits = msgspec.structs.replace(waits, order=None, cancel="o2", ts=wall_ms())
                await publish(kafka, [output._replace(value=records.encode(waits), offset=2)])
                await until(lambda: made["n1"].states("o2.cancel"))
                machine.release()
                await until(lambda: made["n1"].answered("o1"))
            return made["n1"]

    node = asyncio.run(run())
    assert node.states("o1") == ["started", "done"]
    assert (node.states("o2"), node.states("o2.cancel")) == (["cancelled"], ["done"])
    assert machine.resets() == [f"--gpu-reset -i {UUID}"]


def scripted(kafka, key, kill_at=0):
    module = "tests.pipeline.commander.scripted_commander"
    argv = [sys.executable, "-m", module, kafka.bootstrap, kafka.prefix, key, str(kill_at)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def ended(*processes):
    """Exit statuses and outputs."""
    outputs = await asyncio.gather(*(asyncio.to_thread(each.communicate, timeout=WAIT_S) for each in processes))
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


@pytest.mark.timeout(1800)  # three processes for each step
def test_wherever_the_commander_dies_each_order_is_done_once(kafka: Kafka, machine, key) -> None:
    """At each of its steps; then two go on at the same time."""

    async def run():
        async with nodes(kafka, machine) as made:
            for round_ in itertools.count(1):
                await publish(
                    kafka, [ordered(node, f"{node}-{round_}", 2 * round_ + at) for at, node in enumerate(GPUS)]
                )
                [(status, steps, error)] = await ended(scripted(kafka, key, kill_at=round_))
                for again in await ended(scripted(kafka, key), scripted(kafka, key)):
                    assert again[0] == 0, again
                await until(lambda round_=round_: all(made[node].answered(f"{node}-{round_}") for node in GPUS))
                assert sorted(machine.resets()) == sorted(
                    f"--gpu-reset -i {uuid}" for uuid, _ in GPUS.values() for _ in range(round_)
                )
                if status == 0:
                    return made, round_, int(steps)
                assert status == -signal.SIGKILL, error
            raise AssertionError

    made, rounds, steps = asyncio.run(run())
    assert rounds == steps + 1  # every step was tried
    for node in GPUS:
        for round_ in range(1, rounds + 1):
            said = made[node].states(f"{node}-{round_}")
            assert (said.count("started"), said.count("done")) == (1, 1)
            assert {*said} == {"started", "done", "refused"}, "what came again is refused"


def test_during_an_outage_of_the_broker_nothing_is_lost_and_what_is_replaced_is_not_sent(own_broker, key) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1)
    asyncio.run(create(kafka))
    with sink(kafka, "commander", "--listen", "0") as commander:
        wait_for(lambda: commander.ask("/readyz")[0] == 200)
        asyncio.run(publish(kafka, [ordered("n1", "o1", 0)]))
        wait_for(lambda: [each.id for each in asyncio.run(commands(kafka))] == ["o1"])
        own_broker.kill()
        wait_for(lambda: any("waits" in line for line in commander.log))
        own_broker.start()
        asyncio.run(publish(kafka, [ordered("n1", "o2", 1), case("n1", 2, cancel="o2"), ordered("n2", "o3", 3)]))
        wait_for(lambda: len(asyncio.run(commands(kafka))) == 3)
        assert commander.end() == 0
    assert {each.id for each in asyncio.run(commands(kafka))} == {"o1", "o2.cancel", "o3"}


def test_without_a_key_it_ends_in_one_line(kafka: Kafka, monkeypatch) -> None:
    monkeypatch.setenv("GPU_VITALS_COMMANDER_ENABLED", "true")
    with sink(kafka, "commander") as commander:
        assert commander.process.wait(WAIT_S) == 2
        for reader in commander.readers:
            reader.join()
        assert commander.log[0] == "error: commander.enabled: needs commander.key, a file with a private key\n"
