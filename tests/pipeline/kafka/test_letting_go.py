from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create

LIMIT_S = 30.0  # the client by itself waits for its broker for 40 s


@pytest.mark.parametrize("kind", ["group", "view", "producer"])
def test_a_client_whose_broker_is_away_is_let_go_of(own_broker, kind) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1)

    async def run() -> None:
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
        async with asyncio.timeout(LIMIT_S):
            await let_go(client)
            await let_go(client)

    asyncio.run(run())
