"""What the topics on Kafka have kept: read without a group, for `report`, `explain` and the page of the sink."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest

from pipeline.cli import main
from pipeline.clock import wall_ms
from pipeline.explain import explainer
from pipeline.history import Asked
from pipeline.kafka.history import KafkaHistory
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from schemas import records
from schemas.log import Output, Part, Record
from schemas.records import Reason
from schemas.states import Action, CaseState, Condition
from sinks.decisions_http import DecisionPages
from sinks.fleet import Fleet
from sinks.http import Request

NOW = wall_ms() - 60_000
UUID = "GPU-1"


@pytest.fixture
def told(kafka: Kafka, settled: Callable[[Kafka, str], Awaitable[None]]) -> Kafka:
    """One GPU of which both stages have spoken."""
    who = {"ts": NOW, "cluster": "c", "node": "n1", "uuid": UUID, "bdf": "0000:01:00"}
    why = Reason(signal="clocks", level="critical", cap=0.0, since=NOW, text="clocks: slow")
    score = records.Score(**who, score=0.0, held=0.0, condition=Condition.FAILED, reasons=[why])
    decision = records.Decision(
        **who, weight=0.0, score=0.0, condition=Condition.FAILED, state=CaseState.DRAINING, action=Action.EVICT,
        cause="clocks: slow", reasons=[why],
    )  # fmt: skip
    case = records.Eviction(
        **who, state=CaseState.DRAINING, action=Action.EVICT, cause="clocks: slow", fault="clocks", opened=NOW
    )

    async def write() -> None:
        ingress, log = KafkaIngress(kafka), KafkaLog(kafka)
        await ingress.append("observations", [Entry("n1", "tick", records.encode(records.Tick(ts=NOW)))])
        node, cluster = Part("node", "observations", 0), Part("cluster", "fleet-events")
        await log.restore(node)
        await log.commit(node, [Output("scores", UUID, "score", records.encode(score), NOW, 0, 0)], 1)
        await log.restore(cluster)
        outputs = [
            Output("decisions", UUID, "decision", records.encode(decision), NOW, 0, 0),
            Output("evictions", UUID, "eviction", records.encode(case), NOW, 0, 1),
        ]
        await log.commit(cluster, outputs, 1)
        await ingress.close()
        await log.close()
        for topic in ("scores", "decisions", "evictions"):
            await settled(kafka, topic)

    asyncio.run(write())
    return kafka


def test_only_what_is_asked_for_is_read(told: Kafka) -> None:
    history = KafkaHistory(told)
    found: list[tuple[str, Record]] = []
    asked = [
        Asked("decisions", keys=frozenset({UUID})),
        Asked("scores", since=NOW + 1),
        Asked("evictions", kinds=frozenset({"tombstone"})),
        Asked("xids"),
    ]
    history.read(asked, lambda topic, record: found.append((topic, record)))
    assert [(topic, record.key, record.kind, record.ts) for topic, record in found] == [
        ("decisions", UUID, "decision", NOW)
    ]
    assert (history.heard("n1") or 0) >= NOW
    assert history.heard("n2") is None


def test_a_topic_that_an_older_deployment_lacks_is_a_note(told: Kafka) -> None:
    history = KafkaHistory(told)
    history.read([Asked("not-there-yet"), Asked("scores")], lambda topic, record: None)
    assert history.notes == [f"Kafka has no topic {told.prefix}not-there-yet"]


def test_the_commands_look_into_kafka(told: Kafka, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    where = ["--bootstrap", told.bootstrap, "--prefix", told.prefix]
    with pytest.raises(SystemExit):
        main(["report", *where, "--format", "json"])
    report = json.loads(capfdbinary.readouterr().out)
    assert [(alert["gpu"], alert["cause"]) for alert in report["alerts"]["listed"]] == [(UUID, "clocks: slow")]
    assert {mode["mode"] for mode in report["modes"] if mode["count"]} == {"thermal throttling"}
    with pytest.raises(SystemExit):
        main(["explain", "n1/0000:01:00", "--json", *where])
    explained = json.loads(capfdbinary.readouterr().out)
    assert explained["because"] == "weight 0: its case is draining: clocks: slow"
    assert explained["source"] == f"Kafka at {told.bootstrap}, {told.prefix}*"


def test_the_sink_serves_explanations_beside_decisions(told: Kafka) -> None:
    pages = DecisionPages(
        Fleet(), lambda: 0.0, lambda: (b"", ""), dict, dict, explain=explainer(lambda: KafkaHistory(told))
    )
    answer = pages.answer(Request(f"/v1/gpus/{UUID}/explain"))
    assert answer.status is HTTPStatus.OK
    assert json.loads(b"".join(answer.body))["decision"]["weight"] == 0.0
    assert "/v1/gpus/KEY/explain" in pages.names
