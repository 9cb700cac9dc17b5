"""Says on Kafka what a stage would say, for tests of those who read it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from pipeline.kafka import reading, wire
from pipeline.kafka.settings import Kafka
from schemas import topics
from schemas.log import Origin, Output
from schemas.records import Decision, encode, gpu_key
from schemas.states import Action, CaseState, Condition

TS = 1_767_225_600_000


def decision(gpu: int, weight: float = 1.0, cause: int = 0, ordinal: int = 0, **changes: Any) -> Output:
    """The cluster stage's word on GPU number `gpu`, caused by the record at offset `cause` of its input."""
    sick = weight < 1.0
    fields = {
        "ts": TS + cause,
        "cluster": "c1",
        "node": f"node-{gpu // 8:04}",
        "uuid": f"GPU-{gpu:08x}",
        "bdf": f"0000:{gpu % 8 + 1:02x}:00",
        "weight": weight,
        "score": weight,
        "condition": Condition.FAILED if sick else Condition.HEALTHY,
        "state": CaseState.DRAINING if sick else CaseState.IN_SERVICE,
        "action": Action.EVICT if sick else Action.NONE,
        "cause": "Xid 79: GPU fell off the bus" if sick else "",
        "policy": "default@1bd1f7d12458",
        **changes,
    }
    made = Decision(**fields)
    key = gpu_key(made.node, made.uuid, made.bdf)
    return Output(topics.DECISIONS, key, "decision", encode(made), TS + cause, cause, ordinal, urgent=True)


def tombstone(gpu: int, cause: int) -> Output:
    """Nothing is known of the GPU any more."""
    return decision(gpu, cause=cause)._replace(kind=wire.TOMBSTONE, value=b"")


async def publish(
    kafka: Kafka, outputs: Sequence[Output], *, commit: bool = True, stage: str = "cluster", partition: int = 0
) -> list[int]:
    """In one transaction, which is committed, or aborted when all of it is in the log. Returns the offsets.

    It returns when that transaction hides nothing any more: a broker ends it on the topics moments after it has
    answered that it is committed, and whoever reads in between takes an earlier end for the end.

    The log's time is now: that of a transaction's end always is, and behind records that are older by days it
    would begin a new segment, which lets the broker compact what a test is about to read.
    """
    producer = AIOKafkaProducer(**kafka.client(), transactional_id=f"{kafka.prefix}test.{uuid.uuid4().hex}")
    await producer.start()
    try:
        await producer.begin_transaction()
        sent = [
            await producer.send(
                kafka.topic(output.topic),
                output.value or None,
                output.key.encode(),
                headers=wire.headers(
                    output.kind, Origin(stage, partition, output.offset, output.ordinal, kafka.generation)
                ),
            )
            for output in outputs
        ]
        written = [await each for each in sent]
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()
    await _ended(kafka, written)
    return [each.offset for each in written]


async def _ended(kafka: Kafka, written: Sequence[RecordMetadata]) -> None:
    places = {each.topic_partition for each in written}
    async with reading.opened(kafka) as reader:
        while any(
            each.offset >= span.end
            for span in await reader.kept([*places])
            for each in written
            if each.topic_partition == span.place
        ):
            await asyncio.sleep(0.01)
