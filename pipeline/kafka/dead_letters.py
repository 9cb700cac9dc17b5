"""The dead letters on Kafka: which there are, and where what they are about once stood."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition

from pipeline.errors import UsageProblem
from pipeline.kafka import wire
from pipeline.kafka.reading import Reader, Span
from schemas import topics
from schemas.log import Origin
from schemas.records import DeadLetter

_decode = msgspec.json.Decoder(DeadLetter).decode


class Source(NamedTuple):
    """Where a record stood. partition, offset: None where that is not known, or where it never got there."""

    topic: str
    partition: int | None = None
    offset: int | None = None

    @classmethod
    def parse(cls, text: str, cause: Origin | None) -> Source:
        """`text` is TOPIC, TOPIC/OFFSET or TOPIC/PARTITION/OFFSET; `cause` knows the partition that it lacks."""
        topic, *numbers = text.split("/")
        if not all(number.isascii() and number.isdigit() for number in numbers):
            return cls(text)
        if len(numbers) == 1:
            return cls(topic, cause.partition if cause else None, int(numbers[0]))
        return cls(topic, *map(int, numbers)) if len(numbers) == 2 else cls(text)

    def __str__(self) -> str:
        return "/".join(str(each) for each in self if each is not None)


class Letter(NamedTuple):
    """One dead letter. partition, offset, ts: its own place and time (that of the record it is about)."""

    partition: int
    offset: int
    ts: int
    source: Source
    cause: Origin | None
    said: DeadLetter

    @property
    def id(self) -> str:
        return f"{self.partition}/{self.offset}"


class Wanted(NamedTuple):
    """Which dead letters. node, source: exactly, or with what follows the name. why: a part of the reason."""

    from_ms: int | None = None
    to_ms: int | None = None
    node: str = ""
    why: str = ""
    source: str = ""

    def has(self, letter: Letter) -> bool:
        return (
            (self.from_ms is None or letter.ts >= self.from_ms)
            and (self.to_ms is None or letter.ts < self.to_ms)
            and self.node in ("", letter.said.node)
            and self.why.lower() in letter.said.why.lower()
            and (not self.source or f"{letter.source}/".startswith(f"{self.source}/"))
        )


async def letters(reader: Reader, places: Sequence[TopicPartition], wanted: Wanted) -> AsyncIterator[Letter]:
    """Those that are wanted, the oldest first."""
    kept = await reader.kept(places)
    if wanted.from_ms is not None:
        starts = await reader.first_at(kept, wanted.from_ms)
        kept = [span._replace(start=starts[span.place]) for span in kept]
    async for _, messages in reader.read(kept):
        for letter in map(letter_of, messages):
            if wanted.has(letter):
                yield letter


async def named(reader: Reader, places: Sequence[TopicPartition], ids: Sequence[str]) -> list[Letter]:
    """The letters with these ids. Raises UsageProblem: one is not an id, or is not (any more) there."""
    kept = {span.place.partition: span for span in await reader.kept(places)}
    found = []
    for given in ids:
        partition, offset = _parse_id(given)
        span = kept.get(partition)
        if span is None or not span.start <= offset < span.end:
            raise UsageProblem(f"no dead letter {given}", "`gpu-vitals dead-letters list` shows those that there are")
        message = await message_at(reader, Span(span.place, offset, span.end))
        if message is None:
            raise UsageProblem(f"no dead letter {given}", "`gpu-vitals dead-letters list` shows those that there are")
        found.append(letter_of(message))
    return found


async def message_at(reader: Reader, span: Span) -> Any | None:
    """The message at the start of `span`; None where there is none."""
    async for _, messages in reader.read([span._replace(end=span.start + 1)]):
        return messages[0]
    return None


def letter_of(message: Any) -> Letter:
    """What cannot be read as one is a letter about itself."""
    record = wire.record(message)
    try:
        said = _decode(record.value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        said = DeadLetter(
            ts=record.ts, source=topics.DEAD_LETTER, kind=record.kind, why=f"no dead letter: {error}", data=record.value
        )
    source = Source.parse(said.source, record.origin)
    return Letter(message.partition, record.offset, record.ts, source, record.origin, said)


def _parse_id(text: str) -> tuple[int, int]:
    partition, _, offset = text.rpartition("/")
    if not (partition or "0").isdigit() or not offset.isdigit():
        raise UsageProblem(f"not the id of a dead letter: {text}", "PARTITION/OFFSET, as in 0/17")
    return int(partition or "0"), int(offset)
