from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create


@pytest.mark.parametrize("kind", ["group", "view", "producer"])
def test_a_client_whose_broker_is_away_is_let_go_of_in_seconds(own_broker, kind) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1)

    async def run() -> float:
        await create(kafka)
        if kind == "producer":
            client = AIOKafkaProducer(**kafka.client())
        else:
            group = kafka.group("test") if kind == "group" else None
            client = AIOKafkaConsumer(kafka.topic("decisions"), **kafka.client(), group_id=group)
        await client.start()
        if kind != "producer":
            await client.getmany(timeout_ms=500)
        await asyncio.to_thread(own_broker.kill)
        await asyncio.sleep(1.0)
        started = time.monotonic()
        await let_go(client)
        await let_go(client)
        return time.monotonic() - started

    assert asyncio.run(run()) < 10
