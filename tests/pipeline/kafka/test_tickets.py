"""Tickets from a real Kafka, by a process that is killed."""

from __future__ import annotations

import json
import signal

from pipeline.kafka.settings import Kafka
from schemas import topics
from schemas.log import Output
from schemas.records import Eviction, encode
from schemas.states import Action, CaseState
from tests.pipeline.kafka.test_sink_process import say, sink, wait_for

T = 1_767_603_600_000


def case(gpu, state=CaseState.DRAINING, incident="", cause=0):
    eviction = Eviction(
        ts=T + cause,
        cluster="c1",
        node="n1",
        uuid=f"GPU-{gpu}",
        state=state,
        action=Action.EVICT,
        cause="Xid 79: GPU fell off the bus",
        fault="xid_79",
        opened=T,
        detail="restored by ann" if state is CaseState.IN_SERVICE else "",
        incident=incident,
    )
    return Output(topics.EVICTIONS, f"GPU-{gpu}", "eviction", encode(eviction), T + cause, cause, gpu, urgent=True)


def test_each_incident_is_one_ticket_through_kill_9_and_is_closed_on_recovery(
    kafka: Kafka, tmp_path, monkeypatch
) -> None:
    settings = {"ENABLED": "true", "TO": "file", "DIRECTORY": f"{tmp_path}/t", "STATE_DIR": f"{tmp_path}/s"}
    for name, value in settings.items():
        monkeypatch.setenv(f"GPU_VITALS_TICKETS_{name}", value)

    def tickets():
        found = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "t").glob("*.json")]
        return sorted((ticket["id"], ticket["is_open"], len(ticket["gpus"])) for ticket in found)

    say(kafka, case(1, incident="i1"), case(2, incident="i2", cause=1), case(3, incident="i2", cause=1))
    say(kafka, case(4, incident="i3", cause=2), commit=False)
    with sink(kafka, "tickets") as running:
        wait_for(lambda: tickets() == [("i1", True, 1), ("i2", True, 2)])
        running.end(signal.SIGKILL)
    say(kafka, case(1, CaseState.IN_SERVICE, "i1", cause=3))
    with sink(kafka, "tickets", "--listen", "0") as running:
        wait_for(lambda: tickets() == [("i1", False, 1), ("i2", True, 2)])
        wait_for(lambda: 'gpu_vitals_tickets{state="unsent"} 0.0' in running.ask("/metrics")[1])
        assert 'gpu_vitals_tickets{state="open"} 1.0' in running.ask("/metrics")[1]
        assert running.end() == 0
