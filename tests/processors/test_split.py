"""One partition that becomes two goes on as if there had been two from the beginning."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.policies import load
from processors import checkpoints, split
from processors.node import STATE_VERSION, NodeTask
from processors.testing import Observations, judge, ms
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE, GPU_TEMP, MEMORY_TEMP, PCIE_REPLAY_COUNTER, POWER
from schemas.log import Checkpoint, Output, Record
from schemas.records import Gpu
from schemas.states import Condition

NODES = ("n1", "n2", "n3", "n4", "n5", "n6")
STAY, MOVE = {"n1", "n3", "n6"}, {"n2", "n4", "n5"}
END_S = 420
SILENT_FROM = {"n5": 0, "n6": 40}  # n5 is only ever listed


def fleet() -> list[Record]:
    """Windows that fill, latches, coalesced lines, a doubled frame, a GPU first known by its slot alone, a silent
    node, one that never spoke, a policy in the middle, an operator at the end. A tick each second for everybody.
    """
    log = Observations()
    for node in NODES:
        log.inventory(node, 0.0, 2, boot="b1")
    for second in range(1, END_S):
        log.tick(second)
        if second == 50:
            log.policy(second, load("spec"))
        if second == 200:
            log.policy(second, load("default"))
        for number, node in enumerate(NODES):
            if second % 5 == number % 5 and second < SILENT_FROM.get(node, END_S):
                log.frame(
                    node,
                    second,
                    {
                        GPU_TEMP: [50 + number, 96 if node == "n4" and 60 < second < 90 else 60],
                        MEMORY_TEMP: [60, 60 + (second / 10 if node == "n2" else 0)],
                        POWER: [300.0, 310.0],
                        ECC_SBE_VOLATILE: [second if node == "n1" else 0, 0],
                        ECC_DBE_VOLATILE: [0, 1 if node == "n2" and second > 70 else 0],
                        PCIE_REPLAY_COUNTER: [3 * second if node in ("n3", "n4") else 0, 7],
                    },
                )
        if second in (30, 31, 47, 75):
            log.fault("n3", second, 48, 0).fault("n4", second + 0.2, 31, 1, source="kmsg")
        if second == 35:
            log.fault("n2", second, 13, Gpu(bdf="0000:09:00"))
        if second == 44:
            log.fault("n4", second, 43, 0, pid=7).fault("n4", second + 0.5, 43, 1, pid=7)
        if 60 < second < 70:
            log.fault("n2", second, 20034, Gpu(bdf="0000:c3:00.0"), fault="sxid", severity="fatal")
        if second == 36:
            log.frame("n1", second, {GPU_TEMP: [50, 60]}, seq=1)
        if second == 90:
            log.fault("n2", second, 63, Gpu(uuid="GPU-late", bdf="0000:09:00"))
        if second == 300:
            log.restore("n3", second, 0)
    return log.records


def of(records: Sequence[Record], nodes: Collection[str], first_offset: int = 0) -> list[Record]:
    """What the partition of `nodes` holds: their records, and what every partition is told."""
    own = [record for record in records if not record.key or record.key in nodes]
    return [record._replace(offset=first_offset + number) for number, record in enumerate(own)]


def said(outputs: Sequence[Output]) -> list[tuple[Any, ...]]:
    """What is said, in its order; ticks only tell what was counted, and are compared by that."""
    return [(out.ts, out.topic, out.key, out.kind, out.value) for out in outputs if out.kind != "tick"]


def about(lines: Sequence[tuple[Any, ...]], nodes: Collection[str]) -> list[tuple[Any, ...]]:
    """Those that concern `nodes`, or all; what is removed says so by its key alone."""
    found = []
    for line in lines:
        node = json.loads(line[4]).get("node") if line[4] else next(name for name in NODES if name in line[2])
        if node in (None, "", *nodes):
            found.append(line)
    return found


def state(task: NodeTask) -> dict[str, Any]:
    """Without what means nothing: where a window stands in which nothing was counted."""
    saved: dict[str, Any] = checkpoints.unpack(STATE_VERSION, task.checkpoint())
    for _, table in saved["judges"]["signals"].values():
        for name in [name for name in table if name.endswith("_slot")]:
            counted = np.frombuffer(table[name.removesuffix("_slot")][1], "i8") > 0
            table[name] = np.where(counted, np.frombuffer(table[name][1], "i8"), 0).tolist()
    return saved


@pytest.mark.parametrize("cut_s", [3, 32, 48, 76, 130, 310])
def test_both_halves_go_on_as_if_they_had_always_been_apart(cut_s: int):
    records = fleet()
    cut = next(at for at, record in enumerate(records) if record.ts == ms(cut_s))
    whole = NodeTask()
    before = said(whole.step(records[:cut]))
    totals = []
    for nodes in (STAY, MOVE):
        apart = NodeTask()
        own = of(records[:cut], nodes)
        assert sorted(said(apart.step(own))) == sorted(about(before, nodes))

        half = NodeTask()
        half.restore(
            split.keep(whole.checkpoint(), nodes.__contains__, next_offset=len(own), with_counts=nodes is STAY)
        )
        rest = of(records[cut:], nodes, first_offset=len(own))
        assert said(half.step(rest)) == said(apart.step(rest))

        left, right = state(half), state(apart)
        totals.append((left.pop("counts"), right.pop("counts")))
        assert left == right
    for key, counted in totals[0][0].items():
        assert counted + totals[1][0][key] == totals[0][1][key] + totals[1][1][key]
    assert totals[0][0]["duplicates"] == 1


def test_the_fleet_is_worth_splitting():
    """Else the test above would prove nothing: of each kind of state there is something on both sides."""
    task = NodeTask()
    heard = judge([record for record in fleet() if record.ts < ms(110)], task)
    failed = {score.node for score in heard.latest.values() if score.condition is Condition.FAILED}
    assert failed >= {"n2", "n3", "n5", "n6"}
    saved = state(task)
    assert {saved["roster"]["rows"][0][row] for row, *_ in saved["faults"]["log"]} >= {"n3", "n4"}


def test_the_nodes_of_a_state_are_those_it_was_told_of_and_none_that_were_cut_away():
    task = NodeTask()
    task.step(fleet())
    assert split.nodes_of(task.checkpoint()) == set(NODES)
    nobody = split.keep(task.checkpoint(), lambda node: False, next_offset=0)
    assert split.nodes_of(nobody) == set()
    assert nobody.next_offset == 0


def test_what_is_no_state_is_refused():
    with pytest.raises(ValueError, match="checkpoint at offset 7 is damaged"):
        split.keep(Checkpoint(7, b"nonsense"), lambda node: True, next_offset=7)
