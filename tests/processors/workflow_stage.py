"""A cluster stage in which the workflow is on, and the course of a case in it: for the tests beside this file."""

from __future__ import annotations

from typing import Any

from schemas import records
from tests.processors.cluster_stage import Stage

XID = records.Reason(signal="xid", level="evict", cap=0.0, value=48.0, since=1000, text="Xid 48")
RUN = {"detail": "2 tests passed"}


UNLIMITED = {"node_max": None, "domain_max": None}  # G and H are of one node


def stage(**workflow: Any) -> Stage:
    """One in which things are done. Of GPU `G`, whose node is known."""
    made = Stage(gpus_out_max=None, steps=UNLIMITED, workflow={"enabled": True, **workflow})
    made.inventory("boot-1", "G", "H")
    made.judge("G", 1.0)
    return made


def fail(at: Stage, uuid: str = "G", **more: Any) -> None:
    """An evidence of now, to the end of the drain."""
    at.judge(uuid, 0.0, **{"hard": True, "reasons": [XID], "evidence": at.ts, **more})
    at.tick(at.ts + 30_000)


def order(at: Stage, uuid: str = "G") -> records.Order:
    found = at.case(uuid).order
    assert found is not None
    return found


def to_probation(at: Stage) -> None:
    at.answer("G", "done")
    at.answer("G", "done", "pass", started=at.ts)
    at.judge("G", 1.0)
