"""What signals are told beside telemetry and kernel faults: `Signal.on_report`."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.node import NodeTask
from processors.signal import Out, Report, Signal
from processors.state import View
from processors.testing import Observations, gpu, judge
from schemas import records


class Listed(Signal):
    """GPUs that their node does not list, or whose diagnostic has failed."""

    name = "listed"
    reads = (records.Inventory, records.Diagnostic)

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        if isinstance(report.record, records.Diagnostic):
            out.judge(3 if report.record.result == "fail" else 0)
        else:
            out.judge(np.where(report.named, 0, 1))


def _levels(told: Observations) -> dict[str, int]:
    task = NodeTask(signals=(Listed(),))
    judge(told, task)
    return dict(zip(task.roster.uuid_of, task.judges.board.level[0].tolist(), strict=False))


def test_an_inventory_is_seen_with_all_gpus_of_its_node_and_no_others() -> None:
    told = Observations().inventory("n1", 0, 2).inventory("n2", 0, 1).inventory("n1", 1, [gpu("n1", 0)])
    assert _levels(told) == {"GPU-n1-0": 0, "GPU-n1-1": 1, "GPU-n2-0": 0}


def test_a_diagnostic_is_seen_with_its_gpu_alone() -> None:
    failed = records.Diagnostic(ts=0, node="n1", uuid=gpu("n1", 1).uuid, tool="dcgmi diag", result="fail")
    told = Observations().inventory("n1", 0, 2).report(1, failed)
    assert _levels(told) == {"GPU-n1-0": 0, "GPU-n1-1": 3}


def test_what_no_signal_reads_is_no_error() -> None:
    links = records.LinkStatus(ts=0, node="n1", uuid=gpu("n1").uuid, links=["up"])
    assert _levels(Observations().report(0, links)) == {"GPU-n1-0": -1}


def test_what_concerns_groups_of_gpus_reaches_the_cluster_stage() -> None:
    told = Observations().report(0, records.Bandwidth(ts=0, node="n1", uuid="GPU-a", peer="GPU-b", gb_per_s=320.0))
    kinds = [output.kind for output in judge(told).outputs if output.topic == "fleet-events"]
    assert kinds[0] == "bandwidth"
