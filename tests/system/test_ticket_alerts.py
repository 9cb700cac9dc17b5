"""Tickets as alerts of a real Alertmanager."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from urllib.request import urlopen

import msgspec
import pytest

from sinks.tickets.alertmanager import Alertmanager
from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.ticket import Ticket, TicketGpu

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "prometheus-alertmanager",
        f"--config.file={directory}/config.yml",
        f"--storage.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        base = f"http://127.0.0.1:{port}"
        eventually(lambda: ready(base))
        yield base
        process.terminate()


def ready(base):
    try:
        with urlopen(f"{base}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def eventually(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def firing(base):
    """(labels, summary, beginning) of the alerts that fire."""
    with urlopen(f"{base}/api/v2/alerts?active=true", timeout=5) as answer:
        return [(each["labels"], each["annotations"]["summary"], each["startsAt"]) for each in json.load(answer)]


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
