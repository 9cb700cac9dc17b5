"""The stages run over what the topics hold, by time, beside the running system.

Nothing is written to Kafka, no group is joined. A part begins with the newest checkpoint at or before that time
where the checkpoints topic still has one, else with what it learns from the records of the time before (the
warm-up); what it says until then is not told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.archive_log import Source, Start
from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.kafka import checkpoints, wire
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.proof import Proof, Range, Verdict
from pipeline.kafka.reading import Reader, Span, opened, partitions
from pipeline.kafka.settings import Kafka
from pipeline.moments import shown
from pipeline.progress import Progress
from pipeline.replay import Replayed, Show, as_json, drive_parts, in_force
from pipeline.topology import STAGES, Stage
from schemas import records, topics
from schemas.counts import counted
from schemas.log import Checkpoint, Output, Part, Record

SETTLE_MS = 60_000  # partitions of the node stage are not further apart than that

Places = Mapping[str, Sequence[TopicPartition]]


class Asked(NamedTuple):
    """from_ms, to_ms: append times of the input, to_ms excluded; None = to the end. policy: in force at from_ms.

    verify: hold each stage over its own recorded input against what it committed; else the node stage's outputs
    are what the cluster stage reads. only: topics to show; none = all.
    """

    from_ms: int
    to_ms: int | None
    warm_up_ms: int
    policy: records.PolicyChange | None = None
    verify: bool = False
    only: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Lane:
    """One part: its state before `warm_up`, what is stepped without a word, and what is replayed.

    exact: its state is that of the running system; else what is older than the warm-up is missing in it. how: the
    same in words. until_ms: only older records belong to the warm-up; None = all of them.
    """

    part: Part
    checkpoint: Checkpoint | None
    warm_up: Span
    told: Span
    exact: bool
    how: str
    until_ms: int | None = None


@dataclass
class Found(Replayed):
    """What a replay from Kafka found. verdicts: with --verify, on each part. warmed: parts of unsure state."""

    verdicts: dict[Part, Verdict] = field(default_factory=dict)
    warmed: list[Part] = field(default_factory=list)


async def replay(
    kafka: Kafka, asked: Asked, progress: Progress, *, show: Show | None = None, stages: Sequence[Stage] = STAGES
) -> Found:
    """Raises UsageProblem: Kafka cannot be read, or holds nothing of that time."""
    names = {
        topics.CHECKPOINTS,
        *(stage.input for stage in stages),
        *(name for each in stages for name in each.outputs),
    }
    places = await partitions(kafka, *sorted(names))
    stages = [stage.among(len(places[stage.input])) for stage in stages]
    committed = await _committed(kafka, stages, places) if asked.verify else None
    lanes = [lane for stage in stages for lane in await _lanes(kafka, asked, stage, places, committed)]
    if not any(lane.told.start < lane.told.end for lane in lanes):
        raise await _nothing(kafka, asked, places[stages[0].input])
    run = _Run(kafka, asked, lanes, stages, progress, show)
    run.found.notes = [lane.how for lane in lanes]
    run.found.warmed = [lane.part for lane in lanes if not lane.exact]
    progress.total = sum(span.end - span.start for lane in lanes for span in (lane.warm_up, lane.told))
    await run.tell(await run.warm_up())
    if asked.verify:
        await run.verify(places)
    return run.found


async def _committed(kafka: Kafka, stages: Sequence[Stage], places: Places) -> dict[TopicPartition, int]:
    """Up to where each stage has committed its input; what it caused stands on the topics."""
    offsets = Offsets(kafka)
    try:
        found = {
            place: await offsets.committed(kafka.group(stage.name), place)
            for stage in stages
            for place in places[stage.input]
        }
    except (KafkaError, OSError) as error:
        raise UsageProblem(f"kafka: the positions of the stages cannot be read: {error}") from None
    finally:
        await offsets.close()
    return {place: position.offset for place, position in found.items() if position}


async def _lanes(
    kafka: Kafka, asked: Asked, stage: Stage, places: Places, committed: Mapping[TopicPartition, int] | None
) -> list[Lane]:
    async with opened(kafka) as reader:
        kept = await reader.kept(places[stage.input])
        firsts = await reader.first_at(kept, asked.from_ms)
        lasts = {span.place: span.end for span in kept}
        if asked.to_ms is not None:
            lasts = await reader.first_at(kept, asked.to_ms)
        warm = await reader.first_at(kept, max(0, asked.from_ms - asked.warm_up_ms))
        settled = await reader.first_at(kept, asked.from_ms + SETTLE_MS)
        oldest = await reader.oldest_ms(places[stage.input])
    is_fed = committed is None and stage.input != topics.OBSERVATIONS
    saved = await asyncio.gather(
        *(_checkpoint(kafka, stage.part(span.place.partition), span.start, firsts[span.place]) for span in kept)
    )
    lanes = []
    for span, checkpoint in zip(kept, saved, strict=True):
        part, first = stage.part(span.place.partition), firsts[span.place]
        last = lasts[span.place] if committed is None else min(lasts[span.place], committed.get(span.place, 0))
        start = checkpoint.next_offset if checkpoint else warm[span.place]
        lanes.append(
            Lane(
                part,
                checkpoint,
                Span(span.place, start, settled[span.place] if is_fed else first),
                Span(span.place, first, first if is_fed else max(first, last)),
                exact=checkpoint is not None or start == 0,
                how=_how(part, checkpoint, start, first, oldest.get(span.place), asked),
                until_ms=asked.from_ms if is_fed else None,
            )
        )
    return lanes


async def _checkpoint(kafka: Kafka, part: Part, oldest: int, first: int) -> Checkpoint | None:
    """The newest at or before `first` from which on all input is still kept."""
    try:
        found = await checkpoints.newest(kafka, part, first) if first else None
    except (KafkaError, OSError) as error:  # a timeout, too
        raise UsageProblem(f"kafka: the checkpoints of {part.stage}/{part.partition} cannot be read: {error}") from None
    return found[0] if found and found[0].next_offset >= oldest else None


def _how(part: Part, checkpoint: Checkpoint | None, start: int, first: int, oldest_ms: int | None, asked: Asked) -> str:
    name, place = f"{part.stage}/{part.partition}", f"{part.topic}/{part.partition}"
    before = f"{counted(first - start, 'offset')} before"
    if checkpoint:
        return f"{name}: begins with its checkpoint at {place}/{start}, {before}"
    if start == 0:
        return f"{name}: begins at the beginning of {place}, {before}"
    wanted_ms = asked.from_ms - asked.warm_up_ms
    since = f"; {place} has records from {shown(oldest_ms)} on" if oldest_ms and oldest_ms > wanted_ms else ""
    return f"{name}: no checkpoint of that time, warmed up from {place}/{start} on, {before}{since}"


async def _nothing(kafka: Kafka, asked: Asked, places: Sequence[TopicPartition]) -> UsageProblem:
    async with opened(kafka) as reader:
        oldest = await reader.oldest_ms(places)
    until = f" to {shown(asked.to_ms)}" if asked.to_ms is not None else ""
    processed = " that the stages have committed" if asked.verify else ""
    return UsageProblem(
        f"no records from {shown(asked.from_ms)}{until} UTC{processed}",
        f"{topics.OBSERVATIONS} has records from {shown(min(oldest.values()))} UTC on"
        if oldest
        else f"{topics.OBSERVATIONS} is empty",
    )


class _Run:
    """The stages over the lanes. oldest_ms: append time of the oldest record replayed."""

    def __init__(
        self,
        kafka: Kafka,
        asked: Asked,
        lanes: Sequence[Lane],
        stages: Sequence[Stage],
        progress: Progress,
        show: Show | None,
    ) -> None:
        self._kafka = kafka
        self._asked = asked
        self._lanes = lanes
        self._stages = stages
        self._progress = progress
        self._show = show
        self._oldest_ms = wall_ms()
        ranges = {lane.part: Range(lane.told.start, lane.told.end) for lane in lanes if asked.verify}
        self._proof = Proof(ranges, kafka.generation, wall_ms())
        self.found = Found()

    async def warm_up(self) -> dict[Part, Start]:
        """Step what comes before; returns the states in which the parts then are."""
        starts = {lane.part: Start(lane.checkpoint) for lane in self._lanes if lane.checkpoint}
        async with AsyncExitStack() as readers:
            inputs: dict[Part, Source] = {
                lane.part: self._read(
                    await readers.enter_async_context(opened(self._kafka)), lane.warm_up, lane.until_ms
                )
                for lane in self._lanes
            }
            tasks = await drive_parts(inputs, lambda part, outputs: None, self._stages, starts)
        states = {lane.part: tasks[lane.part].checkpoint() for lane in self._lanes}
        return {
            part: Start(state, state.next_offset - 1) if state.next_offset else Start()
            for part, state in states.items()
        }

    async def tell(self, starts: Mapping[Part, Start]) -> None:
        given = {stage.name for stage in self._stages if self._asked.verify or stage.input == topics.OBSERVATIONS}
        async with AsyncExitStack() as readers:
            inputs: dict[Part, Source] = {
                lane.part: self._told(
                    await readers.enter_async_context(opened(self._kafka)), lane, starts[lane.part].position
                )
                for lane in self._lanes
                if lane.part.stage in given
            }
            await drive_parts(inputs, self._emit, self._stages, starts)

    async def verify(self, places: Places) -> None:
        """All that was committed before now stands below the ends that the topics have now."""
        names = {place: name for stage in self._stages for name in stage.outputs for place in places[name]}
        async with opened(self._kafka, committed=False) as reader:
            ends = await reader.kept(list(names))
        self._progress.total += sum(span.end - span.start for span in ends)
        async with opened(self._kafka) as reader:
            starts = await reader.first_at(ends, self._oldest_ms)
            self._progress.advance(sum(starts[span.place] - span.start for span in ends))
            next_offsets = dict(starts)
            async for place, messages in reader.read([span._replace(start=starts[span.place]) for span in ends]):
                self._proof.hold(names[place], place.partition, map(wire.record, messages))
                self._progress.advance(messages[-1].offset + 1 - next_offsets[place])
                next_offsets[place] = messages[-1].offset + 1
        self.found.verdicts = self._proof.verdicts()
        self.found.proved = sum(verdict.equal for verdict in self.found.verdicts.values())
        self.found.differences = [each.difference for each in self.found.verdicts.values() if each.difference]

    async def _told(self, reader: Reader, lane: Lane, before: int) -> AsyncIterator[Sequence[Record]]:
        """What is replayed, behind the policy if there is one. before: an offset that was stepped already."""
        policy = self._asked.policy if lane.part.topic == topics.OBSERVATIONS else None
        async for batch in self._read(reader, lane.told):
            if policy:
                batch = [in_force(policy, batch[0].ts, before), *batch]
                policy = None
            self.found.inputs[lane.part.stage] += len(batch)
            self._oldest_ms = min(self._oldest_ms, min(record.ts for record in batch))
            yield batch

    async def _read(self, reader: Reader, span: Span, until_ms: int | None = None) -> AsyncIterator[list[Record]]:
        next_offset = span.start
        async for _, messages in reader.read([span]):
            batch = [wire.record(message) for message in messages]
            if until_ms is not None:
                batch = [record for record in batch if record.ts < until_ms]
            if batch:
                yield batch
            self._progress.advance(messages[-1].offset + 1 - next_offset)
            next_offset = messages[-1].offset + 1

    def _emit(self, part: Part, outputs: Sequence[Output]) -> None:
        if self._asked.verify:
            self._proof.add(part, outputs)
        self.found.take(outputs)
        if self._show:
            for output in outputs:
                if not self._asked.only or output.topic in self._asked.only:
                    self._show(as_json(output, part))
