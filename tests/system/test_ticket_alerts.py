"""Tickets as alerts of a real Alertmanager."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from sinks.tickets.alertmanager import Alertmanager
from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.ticket import Ticket, TicketGpu
from tests.system.alertmanager import asked, eventually, running

pytestmark = pytest.mark.system

CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
TICKET = Ticket(
    id="b1/0000:1b:00/memory/1",
    cluster="c1",
    is_open=True,
    title="b1 0000:1b:00: Xid 48",
    fault="Xid 48: double-bit ECC error",
    family="memory",
    action="evict",
    priority=3,
    opened=1_767_603_600_000,
    gpus=[TicketGpu(key="GPU-1", node="b1")],
)
GRAVER = msgspec.structs.replace(TICKET, action="remove-node", priority=1)
CLOSED = msgspec.structs.replace(GRAVER, is_open=False, closed_because="restored by ann")
NO_SECRET = Secret(None, "", {})


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    directory = tmp_path_factory.mktemp("alertmanager")
    (directory / "config.yml").write_text(CONFIG)
    with running(directory / "config.yml", directory) as base:
        yield base


def firing(base):
    """(labels, summary, beginning) of the alerts that fire."""
    found = asked(base, "alerts?active=true")
    return [(each["labels"], each["annotations"]["summary"], each["startsAt"]) for each in found]


def test_an_alert_fires_while_its_ticket_is_open_and_ends_with_it(address):
    tracker = Alertmanager(HttpClient(address, NO_SECRET))
    ref = asyncio.run(tracker.create(TICKET, 1))
    asyncio.run(tracker.create(TICKET, 1))  # the answer was lost
    eventually(lambda: len(firing(address)) == 1)
    ((labels, summary, begins),) = firing(address)
    assert labels == {
        "alertname": "GpuVitalsTicket",
        "severity": "ticket",
        "cluster": "c1",
        "incident": TICKET.id,
        "node": "b1",
        "family": "memory",
        "action": "evict",
    }
    assert (summary, begins[:19]) == (TICKET.title, "2026-01-05T09:00:00")

    asyncio.run(tracker.update(ref, GRAVER, TICKET, 2, False))
    eventually(lambda: [each[0]["severity"] for each in firing(address)] == ["page"])

    asyncio.run(tracker.close(ref, CLOSED, GRAVER, 3))
    eventually(lambda: firing(address) == [])

    asyncio.run(tracker.update(ref, GRAVER, CLOSED, 4, True))
    eventually(lambda: len(firing(address)) == 1)
    asyncio.run(tracker.close(ref, CLOSED, GRAVER, 5))
    eventually(lambda: firing(address) == [])
