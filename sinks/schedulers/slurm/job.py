"""Jobs that hold nodes, as squeue and slurmrestd tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sinks.schedulers.slurm.hostlist import expand

COMPLETING = "COMPLETING"
# A job in one of these holds no node, unless it is completing still. All others do, also those that we do not know:
# a suspended job has its processes, and what they hold of a GPU, though Slurm shows the node as idle.
OVER = frozenset(
    {
        "PENDING",
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "PREEMPTED",
        "BOOT_FAIL",
        "DEADLINE",
        "OUT_OF_MEMORY",
        "REVOKED",
    }
)
FORMAT = "%i|%T|%N"  # of squeue


class Job(NamedTuple):
    """id: as people write it, `7`, `7_3` of an array, `7+1` of a heterogeneous job.

    A bare number would mean the whole array where it is also the number of one of its tasks.
    """

    id: str
    states: frozenset[str]
    nodes: frozenset[str]

    @property
    def holds(self) -> bool:
        return COMPLETING in self.states or not self.states & OVER

    @property
    def ends(self) -> bool:
        """It is about to let go by itself."""
        return COMPLETING in self.states

    @property
    def whole(self) -> str:
        """What can be requeued or cancelled: a heterogeneous job only as a whole."""
        return self.id.partition("+")[0]


def from_lines(text: str) -> list[Job]:
    """What squeue prints in FORMAT. Raises ValueError."""
    jobs = []
    for line in text.splitlines():
        if not line.strip():
            continue
        fields = line.strip().split("|")
        if len(fields) != 3 or not fields[0] or not fields[1]:
            raise ValueError(f"not a job: {line[:120]!r}")
        jobs.append(Job(fields[0], frozenset([fields[1]]), frozenset(expand(fields[2]))))
    return jobs


def from_json(jobs: Iterable[Mapping[str, Any]]) -> list[Job]:
    """The `jobs` of slurmrestd. Raises ValueError."""
    try:
        return [_job(each) for each in jobs]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"jobs of a form that is not known: {type(error).__name__}: {error}") from None


def _job(told: Mapping[str, Any]) -> Job:
    states = told["job_state"]
    named = str(told["job_id"])
    array, task = _number(told.get("array_job_id")), _number(told.get("array_task_id"))
    heterogeneous = _number(told.get("het_job_id"))
    if array and task is not None:
        named = f"{array}_{task}"
    elif heterogeneous:
        named = f"{heterogeneous}+{_number(told.get('het_job_offset')) or 0}"
    return Job(
        named,
        frozenset([states] if isinstance(states, str) else states),
        frozenset(expand(told.get("nodes") or "")),
    )


def _number(told: Any) -> int | None:
    """A number, or one that may be unset: {"set": true, "infinite": false, "number": 3}."""
    if isinstance(told, Mapping):
        return int(told["number"]) if told["set"] and not told["infinite"] else None
    return None if told is None else int(told)
