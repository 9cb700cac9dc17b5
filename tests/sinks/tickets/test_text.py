"""A ticket as people read it: golden, and whatever a kernel line holds."""

from __future__ import annotations

import msgspec
import pytest

from schemas import topics
from schemas.records import Decision
from schemas.states import Action, CaseState, Condition, Family, PredictionAction
from sinks.tickets.adf import document
from sinks.tickets.tables import BY_FAMILY, PRIORITY, RAISED, REPLACE, UNKNOWN, priority, suggestion
from sinks.tickets.text import CUT, markdown, plain
from sinks.tickets.view import View
from tests.sinks.tickets.world import ID, T, Topics

GOLDEN = """\
# b1 0000:01:00: Xid 48: double-bit ECC error

## State

    open; priority 2; action evict
    opened 2026-01-05 09:00:00 UTC
    decided by policy default@1

## GPUs

    b1, rack r7, slot 0000:01:00, GPU-1, NVIDIA H100 80GB HBM3, serial 1601, drained, evict

## Fault

    Xid 48: double-bit ECC error, on 0000:01:00
    family memory, cause xid_48

## Suggested part

    GPU: its memory is part of the module

## NVIDIA's recommended action

    Xid 48 (ROBUST_CHANNEL_GPU_ECC_DBE): WORKFLOW_XID_48

## Evidence, in order (UTC)

    2026-01-05 08:59:59  xid_48 of GPU-1: Xid 48: double-bit ECC error
      NVRM: Xid (PCI:0000:01:00): 48, An uncorrectable double bit error (DBE)

## So far (UTC)

    2026-01-05 09:00:00  GPU-1  draining: Xid 48: double-bit ECC error
    2026-01-05 09:00:30  GPU-1  drained: drain timeout

## Outputs to check again

    GPU-1: from 2026-01-05 08:59:27 to 2026-01-05 09:00:00, corruption confirmed

## More

    gpu-vitals explain GPU-1
    incident b1/0000:1b:00/memory/1767603600000
"""


def made(change=lambda of: None, name=("c1", ID)):
    of = Topics()
    of.inventory()
    of.incident()
    of.check()
    decided = Decision(
        ts=T, cluster="c1", node="b1", uuid="GPU-1", weight=0.0, score=0.0, condition=Condition.FAILED,
        state=CaseState.DRAINED, policy="default@1",
    )  # fmt: skip
    of.add(topics.DECISIONS, "GPU-1", decided)
    of.case()
    of.case(state="drained", detail="drain timeout", after_s=30)
    change(of)
    view = View()
    for topic, record in of.log:
        view.take(topic, record)
    return view.ticket(name)


def test_a_ticket_says_all_that_a_technician_needs():
    assert markdown(made()) == GOLDEN


def test_the_text_for_plain_fields_is_the_same():
    text = plain(made(), 4000)
    assert [line.strip() for line in text.splitlines() if line][1:] == [
        line.strip() if line[0] != "#" else line.lstrip("# ").upper() for line in GOLDEN.splitlines() if line
    ][2:]


def test_what_does_not_fit_is_cut_at_a_line_and_said():
    text = plain(made(), 400)
    assert len(text) <= 400
    *kept, last = text.splitlines()
    assert last == CUT
    assert kept == plain(made(), 4000).splitlines()[: len(kept)]


def test_a_kernel_line_gets_no_terminal_code_and_no_heading_through():
    raw = "NVRM: Xid 48\x1b[31m\n# not a heading\r\x00"
    evidence = msgspec.structs.replace(made().evidence[0], raw=raw)
    text = markdown(msgspec.structs.replace(made(), evidence=[evidence]))
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [GOLDEN.splitlines()[0]]


def test_a_document_for_jira_is_sound_and_has_the_same_words():
    doc = document(made(), 30_000)
    assert (doc["type"], doc["version"]) == ("doc", 1)
    texts = [node["content"][0]["text"] for node in doc["content"]]
    assert all(texts), "an empty text node is refused"
    assert {node["type"] for node in doc["content"]} == {"heading", "codeBlock"}
    assert "\n".join(texts).split() == [word for word in GOLDEN.split() if word.strip("#")][7:]
    assert document(made(), 500)["content"][-1]["content"][0]["text"] == CUT


def test_a_closed_ticket_says_why_and_an_incident_that_is_over_what_is_still_to_do():
    closed = made(lambda of: of.case(state="in-service", detail="restored by ann", after_s=60))
    assert "    closed: restored by ann; priority 2; action evict\n" in markdown(closed)
    over = made(lambda of: of.incident(state="resolved", resolved=T + 60_000, reopened=2))
    assert "the fault is over since 2026-01-05 09:01:00 UTC; the GPU is out until somebody" in markdown(over)
    assert "opened 2026-01-05 09:00:00 UTC, came back 2 x" in markdown(over)


def test_a_prediction_says_that_nothing_has_happened_yet():
    ticket = made(lambda of: of.order(), ("c1", "prediction:GPU-1/order-replacement"))
    assert "    correctable errors rise (failure in 40 h, confidence 0.8 by trend)\n    foreseen" in markdown(ticket)
    assert ticket.title == "b1 0000:01:00: order-replacement: correctable errors rise"


def test_a_title_fits_every_system():
    ticket = made(lambda of: of.case(cause="x" * 900, incident="", after_s=40), ("c1", f"b1/{T}"))
    assert len(ticket.title) == 150
    assert ticket.title.endswith("…")


# --- the tables -----------------------------------------------------------------------------------------------


def test_every_action_that_needs_a_person_has_a_priority():
    needs = {*Action, *PredictionAction} - {Action.NONE, Action.MONITOR, PredictionAction.MONITOR}
    assert PRIORITY.keys() == needs | {REPLACE}


def test_every_family_but_the_unnamed_has_a_part():
    assert BY_FAMILY.keys() == set(Family) - {Family.OTHER}


@pytest.mark.parametrize(
    ("action", "family", "corruption", "expected"),
    [
        ("remove-node", "bus", False, 1),
        ("evict-permanently", "memory", False, 2),
        ("evict", "nvlink", False, 3),
        ("evict", "memory", True, 2),
        ("drain", "thermal", False, 2),
        ("remove-node", "power", True, 1),
        ("order-replacement", "memory", False, 4),
        ("evict-now", "memory", False, 2),
        ("never heard of", "other", False, 2),
    ],
)
def test_priorities(action, family, corruption, expected):
    assert priority(action, family, corruption) == expected
    assert (family in RAISED) == (priority("evict", family) == 2)


@pytest.mark.parametrize(
    ("root", "family", "part"),
    [
        ("xid_79", "bus", "riser or slot, then the GPU"),
        ("xid_48", "memory", "GPU"),
        ("xid_64", "memory", "GPU"),
        ("pcie_replay", "bus", "riser or slot"),
        ("xid_74", "nvlink", "NVLink cable or switch port, then the GPU"),
        ("sxid_20034", "nvlink", "NVLink switch, its port or cable"),
        ("power_brake", "power", "power supply, or the rack's feed"),
        ("something", "other", UNKNOWN.part),
    ],
)
def test_suggested_parts(root, family, part):
    assert suggestion(root, family).part == part
