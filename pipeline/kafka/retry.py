"""Dead letters tried again: what they are about is put where it belongs, if it can be understood now.

What becomes of it is a new record of its node: judged when it comes, by the code and the policy of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition

from pipeline.kafka import wire
from pipeline.kafka.dead_letters import Letter, message_at
from pipeline.kafka.reading import Reader, Span
from pipeline.kafka.settings import Kafka
from processors.node import NodeTask
from producers.kernel_faults import fault_of
from schemas import frames, records, topics
from schemas.kernel_message import parse_message
from schemas.log import Record
from schemas.partitions import partition_of

_Named = msgspec.defstruct("_Named", [("node", str, "")])
_NOT_UNDERSTOOD = (ValueError, msgspec.MsgspecError, RecursionError)


class Refused(Exception):
    """This dead letter cannot be tried again; the text says why."""


class Again(NamedTuple):
    """A record to publish. notes: in what it differs from what stood there before."""

    topic: str
    partition: int
    key: str
    kind: str
    value: bytes
    notes: tuple[str, ...]


class Places(NamedTuple):
    """Partitions of the topics that stages read; kept: what they hold now."""

    places: dict[str, list[TopicPartition]]
    kept: dict[TopicPartition, Span]

    @classmethod
    async def of(cls, reader: Reader, places: dict[str, list[TopicPartition]]) -> Places:
        kept = await reader.kept([place for of_topic in places.values() for place in of_topic])
        return cls(places, {span.place: span for span in kept})


async def plan(reader: Reader, places: Places, letter: Letter) -> Again:
    """What to publish for `letter`. Raises Refused."""
    source = letter.source
    if source.offset is None:
        raise Refused(f"it never stood on {source.topic}: what its sender has kept can be sent anew")
    if source.topic not in places.places:
        raise Refused(f"what stands on {source.topic} is derived: the stages say it anew where it is due")
    if letter.said.kind in ("policy", "tick"):
        raise Refused(f"a {letter.said.kind} counts at its own place in the log: send a new one instead")
    original = await _original(reader, places, letter)
    if source.topic == topics.FLEET_EVENTS:
        return _of_operator(letter, original)
    return _observation(letter, original, len(places.places[topics.OBSERVATIONS]))


async def publish(kafka: Kafka, again: Sequence[Again]) -> list[int]:
    """Append them in order; returns their offsets. Raises aiokafka.errors.KafkaError."""
    async with AIOKafkaProducer(
        **kafka.client(),
        enable_idempotence=True,
        compression_type="zstd",
        max_request_size=topics.MESSAGE_BYTES_MAX,
    ) as producer:
        sent = [
            await producer.send(
                kafka.topic(each.topic),
                each.value,
                each.key.encode(),
                each.partition,
                headers=wire.headers(each.kind),
            )
            for each in again
        ]
        return [(await each).offset for each in sent]


async def _original(reader: Reader, places: Places, letter: Letter) -> Record | None:
    """The record itself, where its topic still has it and the letter does not hold all that matters of it."""
    topic, partition, offset = letter.source
    assert offset is not None
    whole = topic == topics.OBSERVATIONS and letter.said.kind != "kernel" and not letter.said.size
    of_topic = places.places[topic]
    if whole or not 0 <= (partition or 0) < len(of_topic):
        return None
    span = places.kept[of_topic[partition or 0]]
    if not span.start <= offset < span.end:
        return None
    message = await message_at(reader, span._replace(start=offset))
    if message is None or message.offset != offset:
        return None
    record = wire.record(message)
    same = record.ts == letter.said.ts and record.kind == letter.said.kind
    return record if same else None  # a topic that was made anew has other records there


def _of_operator(letter: Letter, original: Record | None) -> Again:
    """On `fleet-events` only what an operator wrote; all else there is derived."""
    if original is None:
        raise Refused(f"{letter.source} is not kept any more, and so it cannot be told whether it was derived")
    if original.origin:
        raise Refused("the node stage has derived it: it is said anew when that stage judges anew")
    return Again(topics.FLEET_EVENTS, 0, original.key, original.kind, original.value, ())


def _observation(letter: Letter, original: Record | None, partitions: int) -> Again:
    said = letter.said
    value = said.data if original is None else original.value
    key = said.node if original is None else original.key
    if original is None and said.size:
        raise Refused(f"{letter.source} is not kept any more: {len(said.data)} of {said.size} bytes are left")
    value, notes = _renewed(value) if said.kind == "kernel" else (value, ())
    node = _node(said.kind, value)
    partition = partition_of(node, partitions)
    if why := _complaint(Record(0, said.ts, node, said.kind, value), partition):
        raise Refused(f"it is still not understood: {why}")
    if node != key:
        notes += (f"key {node}, was {key or 'none'}",)
    if letter.source.partition not in (None, partition):
        notes += (f"partition {partition}, was {letter.source.partition}",)
    return Again(topics.OBSERVATIONS, partition, node, said.kind, value, notes)


def _renewed(value: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A fault as it is read now, and without its number: its node has counted on since, and it would not be taken.

    Raises Refused.
    """
    try:
        fault = msgspec.json.decode(value, type=records.KernelFault)
    except _NOT_UNDERSTOOD as error:
        raise Refused(f"it is still not understood: {error}") from None
    notes: tuple[str, ...] = ()
    if fault.epoch or fault.seq:
        notes += (f"without its number {fault.epoch}/{fault.seq}",)
        fault = msgspec.structs.replace(fault, epoch=0, seq=0)
    if fault.fault == "unparsed":
        event = parse_message(fault.raw)
        if event is None or event.kind in ("unparsed", "identity"):
            raise Refused("its line still cannot be parsed")
        uuid = fault.uuid
        fault = fault_of(event, ts=fault.ts, node=fault.node, source=fault.source, cluster=fault.cluster, uuid=uuid)
        notes += (f"its line is understood now: {fault.fault}{'' if fault.code is None else f' {fault.code}'}",)
    return (records.encode(fault), notes) if notes else (value, notes)


def _node(kind: str, value: bytes) -> str:
    """The node that a record names itself. Raises Refused."""
    try:
        named: Any = frames.decode(value) if kind == frames.KIND else msgspec.json.decode(value, type=_Named)
    except _NOT_UNDERSTOOD as error:
        raise Refused(f"it is still not understood: {error}") from None
    if not named.node:
        raise Refused("it names no node")
    node: str = named.node
    return node


def _complaint(record: Record, partition: int) -> str:
    """Why the node stage would make a dead letter of it again; "" if it would not."""
    for output in NodeTask(partition).step([record]):
        if output.topic == topics.DEAD_LETTER:
            return msgspec.json.decode(output.value, type=records.DeadLetter).why
    return ""
