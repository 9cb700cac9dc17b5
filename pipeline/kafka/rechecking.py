"""Requests to check outputs again, on Kafka: which there are, and answers to them."""

from __future__ import annotations

from pipeline.errors import UsageProblem
from pipeline.kafka import reading, wire
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry, Unavailable
from schemas import revalidations
from schemas.records import Revalidated, encode
from schemas.topics import OBSERVATIONS, REVALIDATED, REVALIDATIONS
from sinks.rechecks import Recheck, Rechecks


async def rechecks(kafka: Kafka) -> tuple[list[Recheck], int]:
    """All that are kept, the oldest first, and how many records could not be read. Raises UsageProblem."""
    found, unreadable = Rechecks(), 0
    places = await reading.partitions(kafka, REVALIDATIONS, REVALIDATED)
    async with reading.opened(kafka) as reader:
        for topic, own in places.items():
            async for _, messages in reader.read(await reader.kept(own)):
                for message in messages:
                    try:
                        found.take(topic, wire.record(message))
                    except ValueError:  # of a newer version, or no record of ours
                        unreadable += 1
    return found.all(), unreadable


async def say(kafka: Kafka, answers: list[Revalidated]) -> None:
    """Returns once they are there to stay. Raises UsageProblem: they may or may not be there."""
    ingress = KafkaIngress(kafka)
    try:
        entries = [Entry(answer.node, revalidations.KIND, encode(answer)) for answer in answers]
        await ingress.append(OBSERVATIONS, entries)
    except Unavailable as error:
        help = f"is {kafka.bootstrap} there, and may this user write {OBSERVATIONS}?"
        raise UsageProblem(str(error), help) from None
    finally:
        await ingress.close()
