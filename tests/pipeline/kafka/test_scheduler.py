"""The scheduler sink as processes on a real Kafka, with the scheduler in docs/examples, and killed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create
from schemas import topics
from schemas.log import Output
from schemas.records import Eviction, Serving, encode
from schemas.states import Action, Step
from scripts.kafka_broker import Broker
from tests.pipeline.kafka.test_sink_process import put, say, sink, wait_for
from tests.sinks.schedulers.test_http import example

T = 1_767_603_600_000


def case(gpu, step, cause, node="n1"):
    eviction = Eviction(
        ts=T + cause,
        cluster="c1",
        node=node,
        uuid=f"GPU-{gpu}",
        state=step.state,
        step=step,
        action=Action.EVICT,
        cause="Xid 48: double-bit ECC error",
        opened=T,
    )
    return Output(topics.EVICTIONS, f"GPU-{gpu}", "eviction", encode(eviction), T + cause, cause, gpu, urgent=True)


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with example(tmp_path) as running:
        for name, value in {"ENABLED": "true", "TO": "http", "URL": running.url}.items():
            monkeypatch.setenv(f"GPU_VITALS_SCHEDULER_{name}", value)
        yield running


def states(scheduler):
    return {gpu["uuid"]: (gpu["state"], gpu["in_flight"]) for gpu in scheduler.ask("GET", "/v1/gpus")["gpus"]}


def reports(kafka):
    """What stands on `observations` by now: (key, report)."""

    async def read():
        consumer = AIOKafkaConsumer(kafka.topic(topics.OBSERVATIONS), **kafka.client(), auto_offset_reset="earliest")
        await consumer.start()
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            found = []
            while any([await consumer.position(at) < end for at, end in ends.items()]):
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    found += messages
            return found
        finally:
            await consumer.stop()

    decode = msgspec.json.Decoder(Serving).decode
    return [
        (message.key.decode(), decode(message.value))
        for message in asyncio.run(read())
        if dict(message.headers)["kind"] == b"serving"
    ]


def told(kafka):
    return [(key, said.uuid, said.state, said.in_flight) for key, said in reports(kafka)]


def test_a_gpu_goes_out_and_comes_back_through_kill_9_in_the_middle_of_the_drain(kafka: Kafka, scheduler) -> None:
    requests = scheduler.begin(20)
    on_1 = [each["id"] for each in requests if each["uuid"] == "GPU-1"]
    say(kafka, case(1, Step.DRAINING, 1), case(2, Step.RMA, 2), case(2, Step.IN_SERVICE, 3))
    say(kafka, case(2, Step.RMA, 4), commit=False)
    with sink(kafka, "scheduler", "--listen", "0") as running:
        wait_for(lambda: states(scheduler)["GPU-1"] == ("drained", len(on_1)))
        wait_for(lambda: told(kafka))
        running.end(signal.SIGKILL)
    for number in on_1:
        scheduler.ask("DELETE", f"/requests/{number}")
    with sink(kafka, "scheduler", "--listen", "0") as running:
        wait_for(lambda: ("n1", "GPU-1", "drained", 0) in told(kafka))
        wait_for(lambda: running.ask("/readyz")[0] == 200)
        assert running.ask("/healthz")[0] == 200
        metrics = running.ask("/metrics")[1]
        assert 'gpu_vitals_scheduler_units_out{scheduler="http",state="drained"} 1.0' in metrics
        assert "drain" not in metrics.partition("gpu_vitals_scheduler_actions_total{")[2]  # it was out already
        say(kafka, case(1, Step.RESETTING, 5))
        wait_for(lambda: states(scheduler)["GPU-1"] == ("removed", 0))
        say(kafka, case(1, Step.IN_SERVICE, 6))
        wait_for(lambda: states(scheduler)["GPU-1"] == ("serving", 0))
        wait_for(lambda: ("n1", "GPU-1", "serving", 0) in told(kafka))
        assert running.end() == 0
    assert states(scheduler)["GPU-2"][0] == "serving"
    assert {said.case for _, said in reports(kafka)} == {T}


def roles(*processes):
    """Who says which of itself: 200, it acts; 503, it stands by."""
    return {each.ask("/readyz")[0]: each for each in processes}


def test_the_second_of_two_stands_by_and_takes_over(kafka: Kafka, scheduler) -> None:
    say(kafka, case(1, Step.DRAINING, 1))
    with sink(kafka, "scheduler", "--listen", "0") as first:
        wait_for(lambda: first.ask("/readyz")[0] == 200)
        with sink(kafka, "scheduler", "--listen", "0") as second:
            ready = wait_for(lambda: found if (found := roles(first, second)).keys() == {200, 503} else None)
            acting, waiting = ready[200], ready[503]
            acting.end(signal.SIGKILL)
            say(kafka, case(1, Step.IN_SERVICE, 2), case(2, Step.DRAINING, 3))
            wait_for(lambda: states(scheduler) == {"GPU-1": ("serving", 0), "GPU-2": ("drained", 0)})
            assert waiting.ask("/readyz")[0] == 200
            assert waiting.end() == 0


def test_an_absent_scheduler_is_waited_for_and_said_to_be_away(kafka: Kafka, scheduler) -> None:
    scheduler.kill()
    say(kafka, case(1, Step.DRAINING, 1))
    with sink(kafka, "scheduler", "--listen", "0") as running:
        wait_for(lambda: ("n1", "GPU-1", "unknown", None) in told(kafka))
        wait_for(lambda: running.ask("/healthz")[0] == 503)
        assert "Connection refused" in str(running.ask("/healthz")[1])
        assert 'gpu_vitals_scheduler_away_seconds{scheduler="http"} 0.0\n' not in running.ask("/metrics")[1]
        scheduler.start()
        wait_for(lambda: states(scheduler)["GPU-1"] == ("drained", 0))
        wait_for(lambda: running.ask("/healthz")[0] == 200)
        assert running.end() == 0


def test_a_bad_record_is_a_dead_letter_and_hides_no_case(kafka: Kafka, scheduler) -> None:
    put(kafka, topics.EVICTIONS, b'{"v":99}', key="GPU-2")
    say(kafka, case(1, Step.DRAINING, 1))
    for _ in range(2):
        with sink(kafka, "scheduler", "--listen", "0") as running:
            wait_for(lambda: states(scheduler)["GPU-1"][0] == "drained")
            wait_for(lambda: running.ask("/readyz")[0] == 200)
            letters = running.ask("/metrics")[1].partition("gpu_vitals_sink_dead_letters_total{")[2]
            assert running.end() == 0
    assert letters.startswith('sink="scheduler"} 0.0'), "it was written by the first"


def test_the_default_is_a_dry_run(kafka: Kafka, scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_VITALS_SCHEDULER_ENABLED")
    say(kafka, case(1, Step.DRAINING, 1))
    with sink(kafka, "scheduler", "--listen", "0") as running:
        wait_for(lambda: any("would drain GPU-1" in line for line in running.log))
        assert 'action="drain",result="would",scheduler="http"} 1.0' in running.ask("/metrics")[1]
        assert 'gpu_vitals_scheduler_enabled{scheduler="http"} 0.0' in running.ask("/metrics")[1]
        assert running.end() == 0
    assert states(scheduler)["GPU-1"][0] == "serving"
    assert reports(kafka) == []


def test_without_kafka_what_is_out_stays_out_and_nothing_is_put_back(own_broker: Broker, scheduler) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, session_timeout_s=2.0)
    asyncio.run(create(kafka))
    say(kafka, case(1, Step.DRAINING, 1))
    with sink(kafka, "scheduler", "--listen", "0") as running:
        wait_for(lambda: states(scheduler)["GPU-1"][0] == "drained")
        own_broker.kill()
        scheduler.ask("POST", "/v1/gpus/GPU-1/undrain", {"owner": "gpu-vitals"})  # somebody in our name
        wait_for(lambda: states(scheduler)["GPU-1"][0] == "drained")
        wait_for(lambda: any("waits: Kafka" in line for line in running.log))
        own_broker.start()
        say(kafka, case(1, Step.IN_SERVICE, 2))
        wait_for(lambda: states(scheduler)["GPU-1"][0] == "serving", within_s=60)
        assert running.end() == 0
