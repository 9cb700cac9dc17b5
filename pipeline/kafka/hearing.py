"""What became of an operator's word that was put on Kafka: read beside the stages, as nobody's group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import UsageProblem
from pipeline.kafka import wire
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.reading import Reader, Span, opened, partitions
from pipeline.kafka.settings import Kafka
from pipeline.operators.outcome import FOLLOWED, POLL_S, STAGE, Outcome, Trace
from schemas.topics import FLEET_EVENTS

CLOCKS_MS = 120_000  # by how much the clocks of brokers and of who speaks may differ: stages refuse more than a minute


async def followed(kafka: Kafka, trace: Trace, wait_s: float) -> Outcome:
    """Wait at most `wait_s` for what becomes of a word that was put. Never raises: where it cannot be seen, why."""
    try:
        return await _followed(kafka, trace, wait_s)
    except UsageProblem as problem:
        return Outcome(None, problem.text)
    except KafkaError as error:
        return Outcome(None, f"kafka: {error}")


async def _followed(kafka: Kafka, trace: Trace, wait_s: float) -> Outcome:
    places = await partitions(kafka, *FOLLOWED)
    events = places.pop(FLEET_EVENTS)
    others = {place: topic for topic, there in places.items() for place in there}
    group, offsets = kafka.group(STAGE), Offsets(kafka)
    async with opened(kafka) as committed, opened(kafka, committed=False) as written:
        # A transaction's outputs can be read some ms after its position can, but for who looks at what is not yet
        # committed: there they are before. Where the word stands is known only from what is.
        news = [_News(committed, dict.fromkeys(events, FLEET_EVENTS)), _News(written, others)]
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    position = await offsets.committed(group, events[0])
                    for each in news:
                        await each.give(trace)
                    if found := trace.outcome(position.offset if position else 0):
                        return found
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return Outcome(None, "")
        finally:
            await offsets.close()


class _News:
    """Reads what has come since the word was said, and from then on what is new."""

    def __init__(self, reader: Reader, names: Mapping[TopicPartition, str]) -> None:
        self._reader = reader
        self._names = names
        self._ends: dict[TopicPartition, int] = {}

    async def give(self, trace: Trace) -> None:
        kept = await self._reader.kept(list(self._names))
        if not self._ends:
            self._ends = await self._reader.first_at(kept, trace.word.ts - CLOCKS_MS)
        new = [Span(span.place, self._ends[span.place], span.end) for span in kept if span.end > self._ends[span.place]]
        if not new:
            return
        async for place, messages in self._reader.read(new):
            for message in messages:
                trace.take(self._names[place], wire.record(message))
        self._ends |= {span.place: span.end for span in new}
