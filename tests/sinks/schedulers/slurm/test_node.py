"""Nodes as scontrol and slurmrestd tell of them, and how they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.schedulers.slurm.node import PREFIX, REASON_MAX, Node, from_json, from_lines, is_name, reason

LINE = (  # Slurm 22.05.8
    "NodeName={name} Arch=x86_64 CoresPerSocket=1  CPUAlloc=3 Gres=gpu:2 NodeAddr=127.0.0.1 Version=22.05.8"
    " OS=Linux 6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC  RealMemory=100 Boards=1 State={state} ThreadsPerCore=1 TmpDisk=0"
    " MCS_label=N/A Partitions=all  CfgTRES=cpu=4,mem=100M,billing=4 AllocTRES=cpu=3 ExtSensorsTemp=n/s{rest}\n"
)
STAMP = " [root@2026-11-26T18:16:06]"
TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=300)


def line(state="IDLE", rest="", name="n0"):
    return LINE.format(name=name, state=state, rest=rest)


def test_lines_of_scontrol():
    drained = f' Reason={PREFIX}Xid 48, "double" bit = bad{STAMP}'
    text = line("MIXED+DRAIN", drained) + "\nNode nope not found\n" + line("IDLE", name="n1")
    assert from_lines(text) == {
        "n0": Node("n0", ("MIXED", "DRAIN"), f'{PREFIX}Xid 48, "double" bit = bad'),
        "n1": Node("n1", ("IDLE",), ""),
    }


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (f" Reason=fan [x] broken{STAMP}", "fan [x] broken"),
        (" Reason=fan", "fan"),
        (f" Reason=fan{STAMP} Comment=c State=IDLE Reason={PREFIX}x{STAMP}", "fan"),
        (f" Reason=fan{STAMP} Extra=e Reason={PREFIX}x", "fan"),
        (f" Comment=c Reason={PREFIX}x{STAMP}", ""),
        (f" Extra=e Reason={PREFIX}x Comment=c", ""),
    ],
)
def test_only_the_reason_is_the_reason(rest, why):
    node = from_lines(line("IDLE+DRAIN", rest))["n0"]
    assert (node.reason, node.states, node.is_ours) == (why, ("IDLE", "DRAIN"), False)


@pytest.mark.parametrize(
    "text", ["NodeName=n0\n", "slurm_load_node error\n", "NodeName=n0 Arch=x\n", line() + "rubbish\n"]
)
def test_a_line_of_another_form_is_not_passed_over(text):
    with pytest.raises(ValueError, match="not a node"):
        from_lines(text)


def test_json_of_v0_0_39_and_newer():
    told = [
        {"name": "n0", "state": ["MIXED", "DRAIN"], "reason": f"{PREFIX}x"},
        {"name": "n1", "state": ["IDLE"], "reason": ""},
        {"name": "n2", "state": ["IDLE"]},
    ]
    assert from_json(told) == {
        "n0": Node("n0", ("MIXED", "DRAIN"), f"{PREFIX}x"),
        "n1": Node("n1", ("IDLE",), ""),
        "n2": Node("n2", ("IDLE",), ""),
    }


@pytest.mark.parametrize("told", [{}, {"name": "n0"}, {"state": ["IDLE"]}, {"name": "n0", "state": "idle"}, None, 7])
def test_json_of_another_form_is_not_passed_over(told):
    with pytest.raises(ValueError, match="form that is not known"):
        from_json([told])


@pytest.mark.parametrize(
    ("states", "jobs", "why", "standing"),
    [  # standing: state, in flight, ours
        ("IDLE", 0, "", ("serving", 0, False)),
        ("ALLOCATED", 3, "", ("serving", 3, False)),
        ("MIXED NOT_RESPONDING", 1, "", ("serving", 1, False)),
        ("IDLE MAINTENANCE RESERVED", 0, "", ("serving", 0, False)),  # the reservation's own jobs may start there
        ("IDLE POWERED_DOWN", 0, "", ("serving", 0, False)),
        ("IDLE", 0, PREFIX + "of a drain that is over", ("serving", 0, False)),
        ("MIXED DRAIN", 2, PREFIX + "x", ("drained", 2, True)),
        ("IDLE DRAIN", 0, PREFIX + "x", ("removed", 0, True)),
        ("IDLE DRAIN", 0, "fan", ("removed", 0, False)),
        ("IDLE DRAIN", 1, PREFIX + "x", ("drained", 1, True)),  # a suspended job
        ("IDLE DRAIN COMPLETING", 0, PREFIX + "x", ("drained", None, True)),
        ("IDLE DRAIN NOT_RESPONDING", 0, PREFIX + "x", ("drained", None, True)),
        ("MIXED DRAIN", 0, PREFIX + "x", ("drained", None, True)),
        ("UNKNOWN DRAIN", 0, PREFIX + "x", ("drained", None, True)),
        ("DOWN DRAIN", 0, PREFIX + "x", ("removed", 0, True)),
        ("DOWN", 0, "fan", ("removed", 0, False)),
        ("DOWN", 0, PREFIX + "x", ("removed", 0, False)),
        ("DOWN NOT_RESPONDING", 0, "Not responding", ("drained", None, False)),
        ("IDLE FAIL", 0, "", ("removed", 0, False)),
        ("IDLE INVALID_REG", 0, "Low RealMemory", ("removed", 0, False)),
        ("UNKNOWN", 0, "", ("unknown", None, False)),
        ("FUTURE", 0, "", ("unknown", None, False)),
        ("A_STATE_OF_LATER_RELEASES", 0, "", ("unknown", None, False)),
    ],
)
def test_standing(states, jobs, why, standing):
    found = Node("n0", tuple(states.split()), why).standing(jobs)
    assert found[:3] == standing
    assert found.detail.startswith("+".join(states.split()))


STATES = st.lists(
    st.sampled_from(
        [
            "IDLE",
            "MIXED",
            "ALLOCATED",
            "DOWN",
            "UNKNOWN",
            "FUTURE",
            "DRAIN",
            "FAIL",
            "NOT_RESPONDING",
            "COMPLETING",
            "MAINTENANCE",
            "NEWER",
        ]
    ),
    min_size=1,
    unique=True,
)


@given(STATES, st.integers(0, 3), TEXT)
def test_removed_is_only_who_is_out_answers_and_has_nothing_that_runs(states, jobs, why):
    standing = Node("n0", tuple(states), why).standing(jobs)
    busy = {"MIXED", "ALLOCATED", "COMPLETING", "NOT_RESPONDING"}
    if standing.state == "removed":
        assert jobs == 0
        assert not busy & set(states)
        assert {"DRAIN", "DOWN", "FAIL"} & set(states)
    if {"DRAIN", "DOWN", "FAIL"} & set(states):
        assert standing.state in ("drained", "removed")
    assert (standing.in_flight == 0) <= (jobs == 0)


@given(STATES, TEXT)
def test_a_drain_of_ours_is_known_again_whatever_the_note(states, note):
    why = reason(note)
    assert len(why) <= REASON_MAX
    assert "\n" not in why
    read = from_lines(line("+".join(["IDLE", "DRAIN", *states]), f" Reason={why}{STAMP}"))["n0"]
    assert read.is_ours


def test_an_asterisk_says_that_a_node_does_not_answer():
    assert from_lines(line("IDLE*+DRAIN"))["n0"].states == ("IDLE", "DRAIN", "NOT_RESPONDING")


@pytest.mark.parametrize("text", ["n0", "gpu-7", "a.b_c", "DGX-001", "_x", "all-1"])
def test_names(text):
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", "ALL", "all", "Default", "n[0-1]", "n0,n1", "-h", "--help", "n 0", "n0\n", "n/0", "ä"]
)
def test_what_could_mean_more_or_other_than_one_node_is_no_name(text):
    assert not is_name(text)
