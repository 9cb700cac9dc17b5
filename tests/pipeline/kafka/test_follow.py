"""A sink driven from a real Kafka: in order, nothing lost, nothing aborted, through outages and bad records."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.clock import wall_ms
from pipeline.kafka import follow as followed
from pipeline.kafka import reading, wire
from pipeline.kafka.follow import KafkaFollower
from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import decision, publish, tombstone
from pipeline.kafka.topics import create
from schemas import topics
from schemas.records import DeadLetter
from sinks.sink import Sink, SinkError

BACKOFF_S = (0.01, 0.05)


class Remembers(Sink):
    """Takes (partition, offset, key). failures: how often it will not. gate: waited for before each batch."""

    name = "remembers"
    topics = (topics.DECISIONS,)
    batch_max = 5

    def __init__(self, failures=0):
        self.failures = failures
        self.taken = []
        self.gate = None
        self.busy = False

    async def apply(self, topic, records, partition=0):
        assert not self.busy, "apply runs twice at once"
        assert len(records) <= self.batch_max
        if self.gate:
            await self.gate.wait()
        self.busy = True
        await asyncio.sleep(0)
        self.busy = False
        if self.failures:
            self.failures -= 1
            raise SinkError("nobody there")
        self.taken += [(partition, record.offset, record.key) for record in records]

    @property
    def keys(self):
        return [key for *_, key in self.taken]


class View(Remembers):
    rebuilds = True
    given_at_start = None

    def caught_up(self):
        assert self.given_at_start is None, "told twice"
        self.given_at_start = len(self.taken)


class ViewOfNodes(View):
    topics = (topics.OBSERVATIONS,)


@asynccontextmanager
async def following(sink, kafka, **options):
    """A follower that runs within the block, and ends politely behind it."""
    follower = KafkaFollower(sink, kafka, backoff_s=BACKOFF_S, **options)
    running = asyncio.create_task(follower.run())
    try:
        yield follower
        follower.stop()
        async with asyncio.timeout(60):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(true, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def said(caplog):
    """What the follower has warned of; the client's own log is another."""
    warnings = (record for record in caplog.records if record.levelno == logging.WARNING)
    return [record.getMessage() for record in warnings if record.name == followed.__name__]


def key(gpu):
    return decision(gpu).key


def keys(gpus):
    return [key(gpu) for gpu in gpus]


async def put(kafka, topic, value, key="GPU-x", partition=None, timestamp_ms=None):
    """A record that nobody of ours has written."""
    producer = AIOKafkaProducer(**kafka.client())
    await producer.start()
    try:
        sent = await producer.send_and_wait(kafka.topic(topic), value, key.encode(), partition, timestamp_ms)
        return sent.offset
    finally:
        await producer.stop()


async def dead_letters(kafka):
    """(key, letter) of all there are."""
    places = (await reading.partitions(kafka, topics.DEAD_LETTER))[topics.DEAD_LETTER]
    async with reading.opened(kafka) as reader:
        spans = await reader.kept(places)
        letters = [wire.record(message) async for _, messages in reader.read(spans) for message in messages]
    return [(letter.key, msgspec.json.decode(letter.value, type=DeadLetter)) for letter in letters]


@pytest.mark.parametrize("kind", [Remembers, View])
def test_committed_records_come_in_order_and_aborted_ones_never(kafka: Kafka, kind) -> None:
    async def run():
        sink = kind()
        await publish(kafka, [decision(gpu) for gpu in range(12)])
        await publish(kafka, [decision(77)], commit=False)
        async with following(sink, kafka):
            await until(lambda: len(sink.taken) == 12)
            await publish(kafka, [decision(78)], commit=False)
            await publish(kafka, [decision(20), tombstone(3, cause=9)])
            await until(lambda: len(sink.taken) == 14)
        assert sink.keys == keys([*range(12), 20, 3])

    asyncio.run(run())


def test_a_sink_goes_on_behind_what_it_has_applied_and_a_view_starts_anew(kafka: Kafka) -> None:
    async def run():
        await publish(kafka, [decision(gpu) for gpu in range(7)])
        for first in (Remembers(), View()):
            async with following(first, kafka):
                await until(lambda first=first: len(first.taken) == 7)
        await publish(kafka, [decision(8)])
        sink, view = Remembers(), View()
        async with following(sink, kafka), following(view, kafka):
            await until(lambda: len(sink.taken) == 1 and len(view.taken) == 8)
        assert sink.keys == keys([8])

    asyncio.run(run())


def test_sinks_of_other_groups_get_all(kafka: Kafka) -> None:
    async def run():
        await publish(kafka, [decision(1)])
        one, other = Remembers(), Remembers()
        async with following(one, kafka), following(other, kafka, group="other"):
            await until(lambda: one.taken and other.taken)

    asyncio.run(run())


def test_a_view_says_once_when_it_has_read_what_there_was(kafka: Kafka) -> None:
    async def run():
        sink = View()
        await publish(kafka, [decision(gpu) for gpu in range(12)])
        await publish(kafka, [decision(77)], commit=False)  # the end is not a record
        async with following(sink, kafka) as follower:
            sink.gate = asyncio.Event()
            await asyncio.sleep(0.3)
            assert not follower.caught_up
            sink.gate.set()
            await until(lambda: follower.caught_up)
            await publish(kafka, [decision(1)])
            await until(lambda: len(sink.taken) == 13)
            await until(lambda: follower.stats().lag_s == 0.0)
            assert follower.stats().lag_records == 0
        assert sink.given_at_start == 12

    asyncio.run(run())


def test_an_empty_topic_is_read_at_once(kafka: Kafka) -> None:
    async def run():
        async with following(View(), kafka) as follower:
            await until(lambda: follower.caught_up)

    asyncio.run(run())


def test_each_partition_is_told_apart(kafka: Kafka) -> None:
    async def run():
        sink = ViewOfNodes()
        for partition in (0, 1, 1):
            await put(kafka, topics.OBSERVATIONS, b"x", partition=partition)
        async with following(sink, kafka) as follower:
            await until(lambda: follower.caught_up)
        assert sorted(sink.taken) == [(0, 0, "GPU-x"), (1, 0, "GPU-x"), (1, 1, "GPU-x")]

    asyncio.run(run())


def test_a_view_that_needs_only_recent_records_begins_with_them(kafka: Kafka) -> None:
    topic = topics.FLEET_EVENTS  # nobody looks into what stands there, and whoever appends says when

    class Recent(View):
        topics = (topic,)
        recent_s = {topic: 600.0}

    async def run():
        sink = Recent()
        await put(kafka, topic, b"old", timestamp_ms=wall_ms() - 1_200_000)
        await put(kafka, topic, b"new")
        async with following(sink, kafka) as follower:
            await until(lambda: follower.caught_up)
        assert sink.taken == [(0, 1, "GPU-x")]

    asyncio.run(run())


def test_what_the_world_does_not_take_is_given_again_in_order_and_said_once(kafka: Kafka, caplog) -> None:

    async def run():
        sink = Remembers(failures=4)
        await publish(kafka, [decision(gpu) for gpu in range(8)])
        async with following(sink, kafka) as follower:
            await until(lambda: len(sink.taken) == 8)
            assert follower.stats().retries == 4
            await until(lambda: not follower.outage)
        assert sink.keys == keys(range(8))

    asyncio.run(run())
    assert said(caplog) == ["remembers waits: nobody there", "remembers goes on"]


def test_what_was_not_applied_when_it_ended_is_given_at_the_next_start(kafka: Kafka) -> None:
    async def run():
        await publish(kafka, [decision(gpu) for gpu in range(8)])
        refuses = Remembers(failures=10**9)
        async with following(refuses, kafka) as follower:
            await until(lambda: follower.outage)
        sink = Remembers()
        async with following(sink, kafka):
            await until(lambda: len(sink.taken) == 8)

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "No space left on device"), TimeoutError(), KeyError("x")]
)
def test_any_other_error_of_the_sink_ends_it(kafka: Kafka, error) -> None:
    class Broken(Remembers):
        async def apply(self, topic, records, partition=0):
            raise error

    async def run():
        await publish(kafka, [decision(1)])
        with pytest.raises(type(error)) as raised:
            await KafkaFollower(Broken(), kafka).run()
        assert raised.value is error

    asyncio.run(run())


def test_a_second_process_stands_by_and_takes_over(kafka: Kafka) -> None:
    async def run():
        first, second = Remembers(), Remembers()
        async with following(second, kafka) as standing_by:
            async with following(first, kafka):
                await publish(kafka, [decision(gpu) for gpu in range(20)])
                await until(lambda: len({*first.keys, *second.keys}) == 20)
            await publish(kafka, [decision(30)])
            await until(lambda: key(30) in second.keys)
            assert not standing_by.away
        assert {*first.keys, *second.keys} == {*keys(range(20)), key(30)}

    asyncio.run(run())


# --- bad records -----------------------------------------------------------------------------------------------

BAD = [b"{", b'{"v":2,"ts":1}', decision(5).value]  # cut off; of a newer version; under another key


@pytest.mark.parametrize("kind", [Remembers, View])
def test_a_bad_record_becomes_a_dead_letter_and_the_next_one_is_applied(kafka: Kafka, kind) -> None:
    async def run():
        sink = kind()
        await publish(kafka, [decision(1)])
        places = [await put(kafka, topics.DECISIONS, value) for value in BAD]
        await publish(kafka, [decision(2)])
        async with following(sink, kafka) as follower:
            await until(lambda: len(sink.taken) == 2)
            stats = follower.stats()
        assert sink.keys == keys([1, 2])
        assert (stats.unreadable, stats.dead_letters) == ({topics.DECISIONS: 3}, 3)
        letters = await dead_letters(kafka)
        assert [at for at, _ in letters] == [f"decisions/0/{offset}" for offset in places]
        assert [letter.source for _, letter in letters] == [at for at, _ in letters]
        assert [letter.data for _, letter in letters] == BAD
        for (_, letter), word in zip(
            letters, ("truncated", "schema version 2", "expected 'GPU-00000005'"), strict=True
        ):
            assert word in letter.why

    asyncio.run(run())


def test_a_view_that_starts_anew_does_not_write_its_letters_again(kafka: Kafka) -> None:
    async def start_anew():
        async with following(View(), kafka) as follower:
            await until(lambda: follower.caught_up)
            return sum(follower.stats().unreadable.values()), follower.stats().dead_letters

    async def run():
        await put(kafka, topics.DECISIONS, b"{")
        assert await start_anew() == (1, 1)
        assert await start_anew() == (1, 0)
        await put(kafka, topics.DECISIONS, b"[")
        assert await start_anew() == (2, 1)
        assert [at for at, _ in await dead_letters(kafka)] == ["decisions/0/0", "decisions/0/1"]

    asyncio.run(run())


def test_a_huge_bad_record_leaves_a_letter_with_its_beginning(kafka: Kafka) -> None:
    async def run():
        huge = b"{" + b"x" * 1_000_000
        await put(kafka, topics.DECISIONS, huge)
        async with following(Remembers(), kafka) as follower:
            await until(lambda: follower.stats().dead_letters)
        (_, letter), *_ = await dead_letters(kafka)
        assert letter.size == len(huge)
        assert huge.startswith(letter.data)
        assert len(letter.data) > 100_000

    asyncio.run(run())


# --- outages ---------------------------------------------------------------------------------------------------


def test_a_topic_that_is_missing_is_waited_for(unmade: Kafka, caplog) -> None:

    async def run():
        sink = View()
        async with following(sink, unmade) as follower:
            await until(lambda: follower.away)
            assert follower.away == f"no topic {unmade.topic('decisions')}; `gpu-vitals topics create` makes it"
            await create(unmade)
            await publish(unmade, [decision(1)])
            await until(lambda: sink.taken)

    asyncio.run(run())
    assert [message.partition(":")[0] for message in said(caplog)] == ["remembers waits", "remembers goes on"]


@pytest.mark.parametrize("kind", [Remembers, View])
def test_an_outage_of_the_broker_costs_one_line_and_no_record(own_broker, caplog, kind, monkeypatch) -> None:
    monkeypatch.setattr(followed, "ANSWER_S", 10.0)  # a broker that is only slow is not away
    monkeypatch.setattr(followed, "WATCH_S", 0.2)
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=2, session_timeout_s=2.0)

    async def run():
        sink = kind()
        await create(kafka)
        await publish(kafka, [decision(gpu) for gpu in range(8)])
        async with following(sink, kafka) as follower:
            await until(lambda: len(sink.taken) == 8 and follower.stats().lag_s == 0.0)
            await asyncio.to_thread(own_broker.kill)
            await until(lambda: follower.away)
            await asyncio.sleep(1.0)
            assert follower.stats().away
            assert follower.stats().lag_s > 0.9
            await asyncio.to_thread(own_broker.start)
            await publish(kafka, [decision(gpu) for gpu in range(20, 28)])
            await until(lambda: key(27) in sink.keys)
            await until(lambda: not follower.away)
        return sink.keys

    taken = asyncio.run(run())
    assert list(dict.fromkeys(taken)) == keys([*range(8), *range(20, 28)])
    away = f"remembers waits: Kafka at {own_broker.bootstrap} does not answer"
    assert said(caplog) == [away, "remembers goes on: Kafka answers"]


def test_a_broker_that_is_not_there_yet_is_waited_for(own_broker) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=2, session_timeout_s=2.0)

    async def run():
        await create(kafka)
        await asyncio.to_thread(own_broker.stop)
        sink = Remembers()
        async with following(sink, kafka) as follower:
            await until(lambda: follower.away)
            await asyncio.to_thread(own_broker.start)
            await publish(kafka, [decision(1)])
            await until(lambda: sink.taken)

    asyncio.run(run())


def test_who_asks_waits_until_the_sink_has_all_that_was_there(kafka: Kafka) -> None:
    async def run():
        sink = View()
        async with following(sink, kafka) as follower:
            with pytest.raises(SinkError):  # before it is connected nobody can say
                await follower.current()
            await until(lambda: sink.given_at_start is not None)
            sink.gate = asyncio.Event()
            await publish(kafka, [decision(gpu, cause=gpu) for gpu in range(12)])
            asked = asyncio.create_task(follower.current())
            await asyncio.sleep(0.3)
            early = asked.done()
            sink.gate.set()
            await asked
            return early, len(sink.taken)

    assert asyncio.run(run()) == (False, 12)


def test_who_asks_while_the_broker_is_away_is_told_so(own_broker) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1)

    async def run():
        await create(kafka)
        sink = View()
        async with following(sink, kafka) as follower:
            await until(lambda: sink.given_at_start is not None)
            await follower.current()
            await asyncio.to_thread(own_broker.kill)
            with pytest.raises(SinkError):
                await follower.current()

    asyncio.run(run())
