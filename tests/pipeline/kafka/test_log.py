"""The log on a real Kafka keeps the contract of every log."""

from __future__ import annotations

import asyncio

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create
from pipeline.kits import check_log
from schemas import topics


class Both(KafkaLog, KafkaIngress):
    """Log and ingress in one, as the kit wants it."""

    def __init__(self, kafka: Kafka) -> None:
        KafkaLog.__init__(self, kafka, linger_s=0.01)
        self._ingress = KafkaIngress(kafka, linger_ms=0)
        self.append = self._ingress.append  # type: ignore[method-assign]
        self.position = self._ingress.position  # type: ignore[method-assign]

    async def close(self) -> None:
        await self._ingress.close()
        await KafkaLog.close(self)


async def keep_old_times(kafka: Kafka) -> None:
    """The kit says when its records were appended, and that was long ago."""
    admin = AIOKafkaAdminClient(**kafka.client())
    await admin.start()
    configs = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    names = [kafka.topic(topic) for topic in (topics.OBSERVATIONS, topics.RATES)]
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs) for name in names])
    await admin.close()


def test_kafka_keeps_the_contract_of_logs(unmade: Kafka) -> None:
    kafka = msgspec.structs.replace(unmade, partitions=1)

    async def run() -> None:
        await create(kafka)
        await keep_old_times(kafka)

        async def make() -> Both:
            return Both(kafka)

        await check_log(make)

    asyncio.run(run())
