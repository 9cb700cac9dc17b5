"""A real Alertmanager with our configuration: what follows from another alert is told to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.alertmanager import asked, eventually, running

pytestmark = pytest.mark.system

CONFIG = Path(__file__).parents[2] / "compose/alertmanager/alertmanager.yml"


@pytest.fixture
def address(tmp_path):
    with running(CONFIG, tmp_path) as base:
        yield base


def fire(base, *alerts):
    """Each as `NAME SEVERITY [SINK]`, as Prometheus sends them."""
    body = []
    for alert in alerts:
        name, severity, *sink = alert.split()
        labels = {"alertname": f"GpuVitals{name}", "severity": severity, **({"sink": sink[0]} if sink else {})}
        body.append({"labels": labels, "annotations": {"summary": "why"}})
    asked(base, "alerts", body)


def told(base):
    """Of each alert, to whom it is sent; nobody, where another one says enough."""
    found = {}
    for each in asked(base, "alerts"):
        name = each["labels"]["alertname"].removeprefix("GpuVitals")
        whom = [receiver["name"] for receiver in each["receivers"]]
        found[name, each["labels"].get("sink", "")] = "nobody" if each["status"]["inhibitedBy"] else "".join(whom)
    return found


@pytest.mark.parametrize(
    ("alerts", "expected"),
    [
        (
            ["StormHold page", "ManyUnknown page", "CaseStuck ticket", "StormHold page"],
            {("StormHold", ""): "page", ("ManyUnknown", ""): "nobody", ("CaseStuck", ""): "nobody"},
        ),
        (
            ["OrdersWait ticket commander", "SinkDown ticket commander", "SinkDown ticket metrics"],
            {
                ("OrdersWait", "commander"): "ticket",
                ("SinkDown", "commander"): "nobody",
                ("SinkDown", "metrics"): "ticket",
            },
        ),
        (
            ["OutputsToCheck ticket", "RevalidationUnanswered ticket", "CorruptionFound page"],
            {
                ("OutputsToCheck", ""): "ticket",
                ("RevalidationUnanswered", ""): "nobody",
                ("CorruptionFound", ""): "page",
            },
        ),
        (
            ["GpusWaitForPeople ticket", "RevalidationUnanswered ticket", "ManyUnknown page"],
            {
                ("GpusWaitForPeople", ""): "ticket",
                ("RevalidationUnanswered", ""): "ticket",
                ("ManyUnknown", ""): "page",
            },
        ),
    ],
)
def test_one_cause_is_told_once_and_to_whom_it_concerns(address, alerts, expected):
    fire(address, *alerts)
    eventually(lambda: told(address) == expected)
