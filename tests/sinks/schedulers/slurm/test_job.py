"""Jobs as squeue and slurmrestd tell of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.schedulers.slurm.job import OVER, from_json, from_lines

HOLDING = ["RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"]


def number(value):
    """As data_parser/v0.0.40 and newer say it."""
    return {"set": value is not None, "infinite": False, "number": value or 0}


def told(job_id, states=("RUNNING",), nodes="n0", array=0, task=None, het=0, offset=0):
    return {
        "job_id": job_id,
        "job_state": list(states),
        "nodes": nodes,
        "array_job_id": number(array),
        "array_task_id": number(task),
        "het_job_id": number(het),
        "het_job_offset": number(offset),
    }


def test_lines_of_squeue():
    jobs = from_lines("7|RUNNING|n[0-1]\n5_2|COMPLETING|n0\n6+1|SUSPENDED|n2\n5_[3-9]|PENDING|\n8|COMPLETED|n0\n")
    assert [(each.id, each.whole, each.holds, each.ends, set(each.nodes)) for each in jobs] == [
        ("7", "7", True, False, {"n0", "n1"}),
        ("5_2", "5_2", True, True, {"n0"}),
        ("6+1", "6", True, False, {"n2"}),
        ("5_[3-9]", "5_[3-9]", False, False, set()),
        ("8", "8", False, False, {"n0"}),
    ]


@pytest.mark.parametrize(
    "line", ["7", "7|RUNNING", "|RUNNING|n0", "7||n0", "7|RUNNING|n0|", "7|RUNNING|n[", "slurm error"]
)
def test_a_line_of_another_form_is_not_passed_over(line):
    with pytest.raises(ValueError, match="not a"):
        from_lines(f"8|RUNNING|n0\n{line}\n")


@pytest.mark.parametrize("state", [*HOLDING, "A_STATE_OF_LATER_RELEASES"])
def test_whatever_is_not_known_to_be_over_holds_its_node(state):
    assert from_lines(f"7|{state}|n0")[0].holds


@pytest.mark.parametrize("state", sorted(OVER))
def test_what_is_over_holds_nothing_unless_it_completes_still(state):
    plain, completing = from_json([told(7, [state]), told(7, [state, "COMPLETING"])])
    assert (plain.holds, completing.holds) == (False, True)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (told(7), "7"),
        (told(4, array=3, task=1), "3_1"),
        (told(3, array=3, task=0), "3_0"),  # its number is the array's, too
        (told(9, het=8, offset=1), "8+1"),
        (told(8, het=8), "8+0"),
        ({"job_id": 7, "job_state": "RUNNING", "nodes": "n0", "array_job_id": 0, "array_task_id": None}, "7"),
    ],
)
def test_ids_are_those_of_one_job_and_never_of_a_whole_array(answer, name):
    assert from_json([answer])[0].id == name


@pytest.mark.parametrize("answer", [{}, {"job_id": 7}, {**told(7), "array_task_id": {}}, "job", None, told(7, nodes=5)])
def test_json_of_another_form_is_not_passed_over(answer):
    with pytest.raises(ValueError, match="form that is not known"):
        from_json([answer])


JOBS = st.tuples(
    st.one_of(
        st.integers(1).map(str), st.tuples(st.integers(1), st.integers(0)).map(lambda pair: f"{pair[0]}_{pair[1]}")
    ),
    st.sampled_from([*HOLDING, *sorted(OVER)]),
    st.lists(st.sampled_from(["n0", "n1", "gpu-7.example"]), unique=True),
)


@given(st.lists(JOBS, max_size=5))
def test_what_squeue_prints_is_what_is_read(jobs):
    lines = "".join(f"{name}|{state}|{','.join(nodes)}\n" for name, state, nodes in jobs)
    read = from_lines(lines)
    assert [(each.id, set(each.states), set(each.nodes)) for each in read] == [
        (name, {state}, set(nodes)) for name, state, nodes in jobs
    ]
