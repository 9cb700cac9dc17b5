"""A replay from Kafka proves what stands on the topics, finds what does not belong there, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic, RecordsToDelete

from pipeline.cli import main
from pipeline.kafka import admin, wire
from pipeline.kafka import topics as kafka_topics
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.reading import opened, partitions
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from pipeline.policies import load_policy
from pipeline.replay import drive_parts
from pipeline.runner import Stats, run_task
from pipeline.sqlite_log import SqliteLog
from pipeline.topology import STAGES, Stage
from producers.fleet import START_MS, Fleet
from schemas import records, topics
from schemas.log import Origin, Output, Part, Record

SECONDS = 400
NODE, CLUSTER = STAGES
EARLY, MIDDLE = "2026-01-01T00:00:00Z", "2026-01-01T00:03:00Z"
MIDDLE_MS = START_MS + 180_000

Stood = list[tuple[int, Record]]  # partition, record
Said = dict[str, list[tuple[str, str, bytes, int, Origin | None]]]


def fleet_says() -> list[Entry]:
    """A fleet of eight nodes with one failure of each kind, under the default policy."""
    fleet = Fleet(64)
    policy = records.encode(load_policy("default", START_MS))
    first = [Entry("", "policy", policy, START_MS, partition) for partition in range(2)]
    said = [each for _ in range(SECONDS) for each in fleet.advance()]
    return [*first, *(Entry(each.node, each.kind, each.value, each.ts) for each in said)]


class House(NamedTuple):
    """A running system's topics after it has been stopped, and what stands on them."""

    kafka: Kafka
    said: Said


@pytest.fixture(scope="module")
def house(bootstrap: str, settled: Callable[[Kafka, str], Awaitable[None]]) -> House:
    kafka = Kafka(bootstrap=bootstrap, prefix="replayed.", partitions=2)

    async def make() -> House:
        await make_topics(kafka)
        said = fleet_says()
        early = sum((each.ts or 0) < MIDDLE_MS - 60_000 for each in said)
        log = KafkaLog(kafka, linger_s=0.01)
        for entries in (said[:early], said[early:]):  # between two lives there is a checkpoint
            await append(kafka, entries)
            await asyncio.gather(*(work(kafka, log, NODE, NODE.part(partition)) for partition in range(2)))
        await settled(kafka, topics.FLEET_EVENTS)
        await work(kafka, log, CLUSTER, CLUSTER.part())
        await log.close()
        for topic in topics.TOPICS:
            await settled(kafka, topic)
        return House(kafka, await everything(kafka))

    return asyncio.run(make())


async def make_topics(kafka: Kafka) -> None:
    """As they should be, but that a recording keeps the times at which it was appended, and nothing is compacted."""
    kept = {"message.timestamp.type": "CreateTime", "cleanup.policy": "delete", "retention.ms": "-1"}
    made = [
        NewTopic(each.name, each.partitions, each.replication, topic_configs=each.configs | kept)
        for each in kafka_topics.wanted(kafka)
    ]
    async with admin.connected(kafka) as client:
        await client.create_topics(made)


async def append(kafka: Kafka, entries: Sequence[Entry]) -> None:
    ingress = KafkaIngress(kafka)
    for at in range(0, len(entries), 100):
        await ingress.append(topics.OBSERVATIONS, entries[at : at + 100])
    await ingress.close()


async def work(kafka: Kafka, log: KafkaLog, stage: Stage, part: Part) -> None:
    """Run a part until it has stepped what there is, then stop it in order."""
    found = await stored(kafka, part.topic)
    last = max(record.offset for partition, record in found if partition == part.partition)
    stats = Stats()
    run = asyncio.ensure_future(run_task(part, partial(stage.make, part.partition), log, stats=stats))
    while not run.done() and stats.next_offset <= last:
        await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled(), run.exception()


async def stored(kafka: Kafka, topic: str) -> Stood:
    """All that stands on `topic`, one partition behind the other."""
    places = await partitions(kafka, topic)
    async with opened(kafka) as reader:
        spans = await reader.kept(places[topic])
        found = [
            (place.partition, wire.record(message))
            async for place, messages in reader.read(spans)
            for message in messages
        ]
    return sorted(found, key=lambda each: (each[0], each[1].offset))


async def everything(kafka: Kafka) -> Said:
    found = {topic: await stored(kafka, topic) for topic in topics.TOPICS}
    return {
        topic: [(each.key, each.kind, each.value, each.ts, each.origin) for _, each in stood]
        for topic, stood in found.items()
    }


async def groups(kafka: Kafka) -> set[str]:
    async with admin.connected(kafka) as client:
        return {name for name, _ in await client.list_consumer_groups()}


Replayer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def replayed(capsys: pytest.CaptureFixture[str]) -> Replayer:
    def replay(kafka: Kafka, *args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["replay", "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix, *args])
        said = capsys.readouterr()
        return int(exit.value.code or 0), said.out, said.err

    return replay


def derived(house: House, stage: Stage) -> int:
    return sum(each[4] is not None and each[4].stage == stage.name for said in house.said.values() for each in said)


def test_what_stands_on_the_topics_is_proved(house: House, replayed: Replayer) -> None:
    code, out, err = replayed(house.kafka, "--from", EARLY, "--verify")
    assert (code, out.splitlines()[-1]) == (
        0,
        f"equal: {derived(house, NODE) + derived(house, CLUSTER)} outputs of 3 partitions",
    ), err
    assert "note: node/0: begins at the beginning of observations/0, 0 offsets before" in err
    assert "replay: 100 %" in err


def test_from_the_middle_it_begins_with_a_checkpoint(house: House, replayed: Replayer) -> None:
    code, out, err = replayed(house.kafka, "--from", MIDDLE, "--verify")
    assert (code, out.splitlines()[-1][:6]) == (0, "equal:"), err
    assert "note: node/1: begins with its checkpoint at observations/1/" in err
    assert "note: cluster/0: begins at the beginning of fleet-events/0" in err
    assert 0 < int(out.splitlines()[-1].split()[1]) < derived(house, NODE)


def test_a_stretch_of_time_is_proved_alone(house: House, replayed: Replayer) -> None:
    code, out, _ = replayed(house.kafka, "--from", MIDDLE, "--to", "2026-01-01T00:04:00Z", "--verify")
    in_time = [
        each
        for said in house.said.values()
        for each in said
        if each[4] and MIDDLE_MS <= each[3] < MIDDLE_MS + 60_000 and each[4].stage == "node"
    ]
    assert code == 0
    assert len(in_time) <= int(out.splitlines()[-1].split()[1])


def test_nothing_is_left_behind(house: House, replayed: Replayer) -> None:
    before = asyncio.run(groups(house.kafka))
    replayed(house.kafka, "--from", EARLY, "--verify")
    replayed(house.kafka, "--from", MIDDLE, "--policy", "spec")
    assert asyncio.run(groups(house.kafka)) <= before  # those of other tests go when they like
    assert asyncio.run(everything(house.kafka)) == house.said


def test_the_summary_tells_what_came_out(house: House, replayed: Replayer) -> None:
    code, out, _ = replayed(house.kafka, "--from", EARLY)
    rows = {tuple(row.split()[1:]): row.split()[0] for row in out.splitlines()}
    assert code == 0
    for topic in NODE.outputs:  # the cluster stage reads them merged by time here, not as they came then
        assert rows.get(("records", "out", topic), "0") == str(len(house.said[topic])), topic
    assert rows["records", "in", "node"] == str(len(house.said[topics.OBSERVATIONS]))
    assert ("records", "out", "decisions") in rows


def test_another_policy_has_other_outputs(house: House, replayed: Replayer) -> None:
    args = ("--from", MIDDLE, "--json", "--topics", "decisions,fleet-events")
    ours, spec = (
        [json.loads(line) for line in replayed(house.kafka, *args, *more)[1].splitlines()]
        for more in ((), ("--policy", "spec"))
    )
    policies = [each for each in spec if each["kind"] == "policy"]
    assert sorted(each["partition"] for each in policies) == [0, 1]
    assert len({each["value"]["ts"] for each in policies}) == 1, "one change, whatever the partition"
    by = [[each["value"]["policy"] for each in said if each["topic"] == "decisions"] for said in (ours, spec)]
    default, other = load_policy("default").id, load_policy("spec").id
    assert set(by[0]) == {default}
    assert set(by[1][by[1].index(other) :]) == {other}, "what was due before is the former's"


def test_merged_partitions_come_in_the_same_order_every_time(house: House, replayed: Replayer) -> None:
    args = ("--from", EARLY, "--json", "--topics", "decisions,evictions")
    assert replayed(house.kafka, *args)[1] == replayed(house.kafka, *args)[1]


# --- what is not as it should be ---------------------------------------------------------------------------


def copied(house: House, prefix: str, change: Callable[[str, Stood], Stood]) -> Kafka:
    """The same on other topics, `change`d on the way. Without the gaps that transactions leave: what the cluster
    stage said has other origins there, and is not looked at.
    """
    kafka = msgspec.structs.replace(house.kafka, prefix=prefix)

    async def copy() -> None:
        await make_topics(kafka)
        async with AIOKafkaProducer(**kafka.client()) as producer:
            for topic in topics.TOPICS:
                for partition, each in change(topic, await stored(house.kafka, topic)):
                    await producer.send(
                        kafka.topic(topic),
                        each.value or None,
                        each.key.encode(),
                        partition,
                        each.ts,
                        wire.headers(each.kind, each.origin),
                    )
        await commit_positions(kafka)

    asyncio.run(copy())
    return kafka


async def commit_positions(kafka: Kafka) -> None:
    """As if the stages had read all."""
    for stage in STAGES:
        places = (await partitions(kafka, stage.input))[stage.input]
        consumer = AIOKafkaConsumer(**kafka.client(), group_id=kafka.group(stage.name), enable_auto_commit=False)
        await consumer.start()
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
        await consumer.stop()


def test_output_with_another_value_is_named(house: House, replayed: Replayer) -> None:
    def change(topic: str, found: Stood) -> Stood:
        if topic != topics.RATES:
            return found
        partition, last = found[-1]
        return [*found[:-1], (partition, last._replace(value=last.value + b" "))]

    origin = house.said[topics.RATES][-1][4]
    assert origin
    kafka = copied(house, "changed.", change)
    code, out, err = replayed(kafka, "--from", EARLY, "--verify")
    assert code == 1
    assert "equal" not in out
    assert [line for line in err.splitlines() if line.startswith("different: node")] == [
        f"different: node/{origin.partition}: output {origin.ordinal} of "
        f"observations/{origin.partition}/{origin.offset}: rates/0/{len(house.said[topics.RATES]) - 1} "
        f"(key {house.said[topics.RATES][-1][0]}): value is another than the replayed one"
    ]


@pytest.mark.parametrize("which", ["missing", "twice", "foreign"])
def test_output_that_is_missing_or_too_many_is_named(house: House, replayed: Replayer, which: str) -> None:
    def change(topic: str, found: Stood) -> Stood:
        if topic != topics.XIDS:
            return found
        if which == "missing":
            return found[1:]
        partition, last = found[-1]
        if which == "foreign":
            assert last.origin
            last = last._replace(origin=last.origin._replace(ordinal=99))
        return [*found, (partition, last)]

    code, _, err = replayed(copied(house, f"{which}.", change), "--from", EARLY, "--verify")
    assert code == 1
    said = {
        "missing": ": replayed, but not on xids: a xid with key ",
        "twice": " stands there for the second time\n",
        "foreign": " stands there; the replay says nothing of it\n",
    }
    assert said[which] in err


def test_what_a_compacted_topic_has_let_go_of_is_not_missing(house: House, replayed: Replayer) -> None:
    def change(topic: str, found: Stood) -> Stood:
        newest = {each.key: at for at, (_, each) in enumerate(found)}
        keep_all = topic != topics.SCORES
        return [each for at, each in enumerate(found) if keep_all or at == newest[each[1].key]]

    _, _, err = replayed(copied(house, "compacted.", change), "--from", EARLY, "--verify")
    lost = len(house.said[topics.SCORES]) - len({each[0] for each in house.said[topics.SCORES]})
    assert lost
    assert not [line for line in err.splitlines() if line.startswith("different: node")]


def test_without_a_checkpoint_the_time_before_is_learnt_from(house: House, replayed: Replayer) -> None:
    kafka = copied(house, "stateless.", lambda topic, found: found)
    _, _, err = replayed(kafka, "--from", MIDDLE)
    assert "note: node/0: begins at the beginning of observations/0, " in err, "two hours are more than there is"
    _, _, err = replayed(kafka, "--from", MIDDLE, "--warm-up", "30s")
    assert "note: node/0: no checkpoint of that time, warmed up from observations/0/" in err
    assert "has records from" not in err


def test_what_retention_has_removed_is_said(house: House, replayed: Replayer) -> None:
    kafka = copied(house, "retained.", lambda topic, found: found)

    async def remove() -> None:
        (place, _) = (await partitions(kafka, topics.OBSERVATIONS))[topics.OBSERVATIONS]
        async with admin.connected(kafka) as client:
            await client.delete_records({place: RecordsToDelete(before_offset=40)})

    asyncio.run(remove())
    _, _, err = replayed(kafka, "--from", MIDDLE)
    assert "note: node/0: no checkpoint of that time, warmed up from observations/0/40 on, " in err
    assert "; observations/0 has records from 2026-01-01 00:0" in err
    assert "note: node/1: begins at the beginning of observations/1" in err

    code, _, err = replayed(kafka, "--from", MIDDLE, "--verify", "--warm-up", "1s")
    assert code == 1
    assert "note: node/0 was only warmed up and may lack what is older: it proves nothing" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--from", "2026-02-01"], "no records from 2026-02-01 00:00:00 UTC\n  help: observations has records from"),
        (["--from", "soon"], "--from: not a time: soon"),
        (["--from", "1h", "--to", "2h"], "--to is not later than --from"),
        (["--from", "1h", "--verify", "--policy", "spec"], "--policy and --verify exclude each other"),
        (["--to", "1h"], "name recordings, or a time on Kafka with --from"),
        (["x.jsonl", "--warm-up", "1h"], "--to and --warm-up go with --from"),
        (["x.jsonl", "--from", "1h"], "name recordings, or a time on Kafka with --from"),
    ],
)
def test_usage_problems(house: House, replayed: Replayer, args: list[str], message: str) -> None:
    code, _, err = replayed(house.kafka, *args)
    assert code == 2
    assert message in err


def test_nothing_committed_is_nothing_to_verify(kafka: Kafka, replayed: Replayer) -> None:
    asyncio.run(append(kafka, fleet_says()[:20]))
    code, _, err = replayed(kafka, "--from", "1h", "--verify")
    assert code == 2
    assert "UTC that the stages have committed" in err


# --- the promise: the same input log, the same bytes, on every log --------------------------------------------


def test_embedded_kafka_and_replay_say_the_same_bytes(house: House, tmp_path: Path) -> None:
    """Each partition of the observations is an input log; the cluster stage's is `fleet-events` as it came."""
    for partition in range(2):
        given = [each for at, each in asyncio.run(stored(house.kafka, topics.OBSERVATIONS)) if at == partition]
        check_equal(house, NODE, partition, given, tmp_path / f"node-{partition}")
    check_equal(
        house, CLUSTER, 0, [each for _, each in asyncio.run(stored(house.kafka, topics.FLEET_EVENTS))], tmp_path
    )


def check_equal(house: House, stage: Stage, partition: int, given: list[Record], directory: Path) -> None:
    on_kafka = sorted(
        (each[4][2:4], topic, *each[:4])
        for topic, said in house.said.items()
        for each in said
        if each[4] and each[4][:2] == (stage.name, partition)
    )
    part = stage.part(partition)

    replayed: list[Output] = []
    alone = [each for each in STAGES if each is stage]
    asyncio.run(drive_parts({part: given}, lambda _, outputs: replayed.extend(outputs), alone))
    assert _places(replayed) == on_kafka

    # SQLite numbers its records itself: offsets without the gaps that transactions leave.
    embedded = asyncio.run(_embedded(stage, part, given, directory))
    offsets = [each.offset for each in given]
    assert sorted(((offsets[place[0]], place[1]), *rest) for place, *rest in embedded) == [
        (tuple(place), *rest) for place, *rest in on_kafka
    ]


def _places(outputs: Sequence[Output]) -> list[tuple[Any, ...]]:
    return sorted(
        ((each.offset, each.ordinal), each.topic, each.key, each.kind, each.value, each.ts) for each in outputs
    )


async def _embedded(stage: Stage, part: Part, given: list[Record], directory: Path) -> list[tuple[Any, ...]]:
    log = SqliteLog(directory / "data", linger_s=0.0)
    await log.append(part.topic, [Entry(each.key, each.kind, each.value, each.ts) for each in given])
    stats = Stats()
    run = asyncio.ensure_future(run_task(part, partial(stage.make, part.partition), log, stats=stats))
    while stats.next_offset < len(given) and not run.done():
        await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled(), run.exception()
    found = [
        ((each.origin.offset, each.origin.ordinal), topic, each.key, each.kind, each.value, each.ts)
        for topic in stage.outputs
        for each in log.tail(topic, -1, 1_000_000)
        if each.origin and each.origin.stage == stage.name
    ]
    await log.close()
    return found
