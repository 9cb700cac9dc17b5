"""Weights from a real Kafka."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.client import HealthWeights, Kafka, KafkaSource
from pipeline.errors import UsageProblem
from pipeline.kafka import admin, topics
from pipeline.kafka.testing import decision, publish, tombstone
from schemas.topics import DECISIONS
from scripts.kafka_broker import Broker

ONE, TWO, THREE = (decision(gpu).key for gpu in (1, 2, 3))
FAST = {"backoff_s": (0.05, 0.2)}


def say(kafka, *outputs, **options):
    asyncio.run(publish(kafka, outputs, **options))


def test_what_stands_what_comes_and_nothing_of_what_was_aborted(kafka: Kafka, soon):
    say(kafka, decision(1, cause=1), decision(2, cause=2), decision(1, 0.3, cause=5))
    say(kafka, decision(2, 0.1, cause=9), commit=False)
    say(kafka, decision(1, cause=1), tombstone(2, cause=6), decision(3, 0.0, cause=7))  # the first: again
    with HealthWeights(KafkaSource(kafka, **FAST)) as weights:
        weights.wait_ready()
        assert weights.weights() == {ONE: 0.3, THREE: 0.0}
        say(kafka, decision(3, 1.0, cause=8), decision(1, 0.0, cause=9))
        soon(lambda: weights.weights() == {ONE: 0.0, THREE: 1.0})
        assert (weights.select(), weights.as_of.origin) == (THREE, "0/cluster/0/9/0")
        soon(lambda: weights.age_s < 1.0)
        assert weights.problem == ""


def test_a_topic_without_a_decision_is_read_to_its_end_too(kafka: Kafka, soon):
    with HealthWeights(KafkaSource(kafka, **FAST)) as weights:
        weights.wait_ready()
        first_s = weights.age_s
        soon(lambda: weights.age_s < first_s)  # asked again, and current again
        say(kafka, decision(1, 0.5, cause=1))
        soon(lambda: weights.weights() == {ONE: 0.5})


def test_what_cannot_be_read_is_left_out_and_the_rest_is_taken(kafka: Kafka, caplog):
    newer = decision(1, 0.0, cause=2)._replace(value=b'{"v":9,"node":"n","what":"else"}')
    say(kafka, decision(1, cause=1), newer, decision(2, 0.5, cause=3))
    with HealthWeights(KafkaSource(kafka, **FAST)) as weights:
        weights.wait_ready()
        assert weights.weights() == {ONE: 1.0, TWO: 0.5}
    assert "left out: schema version 9, expected 1" in caplog.text


def test_it_waits_for_a_topic_that_is_not_there_yet(unmade: Kafka, soon):
    with HealthWeights(KafkaSource(unmade, **FAST)) as weights:
        soon(lambda: "there is no topic" in weights.problem)
        asyncio.run(topics.create(unmade))
        weights.wait_ready()
        soon(lambda: not weights.problem)


def test_a_broker_that_dies_leaves_the_weights_and_comes_back_with_newer_ones(own_broker: Broker, soon):
    kafka = Kafka(bootstrap=own_broker.bootstrap)
    asyncio.run(topics.create(kafka))
    say(kafka, decision(1, cause=1), decision(2, 0.0, cause=2))
    with HealthWeights(KafkaSource(kafka, **FAST), stale_after_s=1.5) as weights:
        weights.wait_ready()
        own_broker.kill()
        soon(lambda: weights.stale and weights.problem)
        assert weights.weights() == {ONE: 1.0, TWO: 0.0}
        assert weights.select() == ONE
        own_broker.start()
        say(kafka, decision(1, 0.0, cause=3), decision(2, 1.0, cause=4))
        soon(lambda: weights.weights() == {ONE: 0.0, TWO: 1.0} and not weights.stale)


def test_a_topic_that_was_made_anew_unsaid_takes_no_weight_back(kafka: Kafka, soon):
    say(kafka, *(decision(1, 0.0, cause=cause) for cause in range(9)))
    with HealthWeights(KafkaSource(kafka, **FAST), stale_after_s=2.0) as weights:
        weights.wait_ready()
        asyncio.run(make_anew(kafka))
        say(kafka, decision(1, 1.0, cause=2))
        soon(lambda: weights.stale and "a topic that was made anew needs a higher kafka.generation" in weights.problem)
        assert weights.weights() == {ONE: 0.0}


async def make_anew(kafka):
    async with admin.connected(kafka) as client:
        await client.delete_topics([kafka.topic(DECISIONS)])
        async with asyncio.timeout(60):
            while kafka.topic(DECISIONS) in await client.list_topics():
                await asyncio.sleep(0.05)
    await topics.create(kafka)


def test_an_address_that_is_none_is_refused_at_once():
    with pytest.raises(UsageProblem, match="no address of a broker"):
        KafkaSource(Kafka(bootstrap="kafka:port"))
