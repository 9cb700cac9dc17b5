"""What a check says of Kafka, asked of a real one: there, not there, without topics, with the wrong clock."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiokafka.admin import NewTopic

from pipeline.kafka import admin, agent_check, reading, topics
from pipeline.kafka.settings import Kafka
from scripts.kafka_broker import free_port


def found(kafka):
    return asyncio.run(agent_check.findings(kafka))


def states(findings):
    return [(finding.what, finding.state) for finding in findings]


def test_where_all_is_well_it_says_what_there_is(kafka: Kafka):
    findings = found(kafka)
    assert states(findings) == [*[("kafka", "ok")] * 3, ("clock", "ok"), ("kafka", "ok")]
    assert f"{kafka.bootstrap} answers (PLAINTEXT), 1 broker" in findings[0].found
    assert f"topic {kafka.prefix}observations with 2 partitions" in findings[1].found
    assert not any(finding.fix for finding in findings)


def test_what_it_appends_says_nothing_but_the_time(kafka: Kafka):
    async def observations():
        places = (await reading.partitions(kafka, "observations"))["observations"]
        async with reading.opened(kafka) as reader:
            return [m async for _, ms in reader.read(await reader.kept(places)) for m in ms]

    found(kafka)
    (message,) = asyncio.run(observations())
    assert (message.key, message.headers) == (b"", (("kind", b"tick"),))
    assert msgspec.json.decode(message.value).keys() == {"kind", "ts"}


def test_where_nobody_answers_it_says_how_to_name_another_one():
    (finding,) = found(Kafka(bootstrap=f"127.0.0.1:{free_port()}"))
    assert finding.state == "error"
    assert "no broker answers" in finding.found
    assert "--bootstrap" in finding.fix


def test_where_the_topics_are_missing_it_names_the_command_that_makes_them(unmade: Kafka):
    findings = found(unmade)
    assert states(findings) == [("kafka", "ok"), ("kafka", "error"), ("kafka", "warning")]
    assert findings[1].found == f"no topic {unmade.prefix}observations"
    assert all("gpu-vitals topics create" in finding.fix for finding in findings[1:])


def test_a_password_that_is_missing_is_said_before_any_broker_is_asked():
    (finding,) = found(Kafka(sasl="PLAIN", user="agent"))
    assert (finding.state, finding.found) == ("error", "kafka.password_file: missing")


def test_a_topic_that_keeps_the_agents_own_times_is_an_error(unmade: Kafka):
    async def make():
        async with admin.connected(unmade) as client:
            await client.create_topics([NewTopic(unmade.topic("observations"), 1, 1)])
            await topics._visible(client, [unmade.topic("observations")])

    asyncio.run(make())
    (wrong,) = [finding for finding in found(unmade) if "not those of the append" in finding.found]
    assert wrong.state == "error"
    assert "topics check" in wrong.fix


@pytest.mark.parametrize(
    ("ahead_ms", "took_ms", "state", "words"),
    [
        (0, 4.0, "ok", "agrees with the broker's, to 4 ms"),
        (4, 4.0, "ok", "agrees with the broker's, to 4 ms"),
        (504, 4.0, "ok", "0.500 s behind the broker's, to 4 ms"),
        (-999, 4.0, "ok", "0.999 s ahead of the broker's"),
        (-1000, 4.0, "warning", "1.000 s ahead of the broker's"),
        (1004, 4.0, "warning", "1.000 s behind the broker's"),
        (5004, 4.0, "warning", "5.000 s behind the broker's"),
        (5005, 4.0, "error", "5.001 s behind the broker's"),
        (-5001, 4.0, "error", "5.001 s ahead of the broker's"),
    ],
)
def test_how_far_the_clocks_are_apart(ahead_ms, took_ms, state, words):
    """An append lies between what was sent and what was acknowledged: less than that cannot be told."""
    finding = agent_check._clock(ahead_ms, took_ms)
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.fix) is (state != "ok")
