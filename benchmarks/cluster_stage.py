"""A burst of 10,000 condition changes through the cluster stage, beside merely decoding them.

By the default policy, under which it is a storm; without that; and with a limit for each kind of unit as well, and none
for the fleet, so that hundreds wait for room in many places.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from processors.cluster import ClusterTask
from schemas import records
from schemas.log import Record
from schemas.states import Condition

CHANGES, GPUS, NODES = 10_000, 2_000, 250
CALM = {"storm": {"enabled": False}}
UNITS = {f"{kind}_max": 2 for kind in ("node", "rack", "domain", "group", "model")}
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "no storm": CALM,
    "all limits": {**CALM, "gpus_out_max": None, "budgets": {**UNITS, "nodes_out_max": 100}},
}
HOT = records.Reason(signal="temperature", level="evict", cap=0.0, quantity="temperature_c", value=95.0, unit="C")


def fleet(policy: dict[str, Any]) -> list[Record]:
    """Racks of ten nodes, groups of eight GPUs."""
    said: list[records.Record] = [records.PolicyChange(ts=1000, id="p", document={"cluster": policy})]
    for node in range(NODES):
        gpus = [f"GPU-{number}" for number in range(node, GPUS, NODES)]
        listed = [records.GpuInfo(uuid=gpu, model="NVIDIA H100 80GB HBM3") for gpu in gpus]
        said.append(records.Inventory(ts=1000, node=f"n{node}", rack=f"r{node // 10}", gpus=listed))
        said.append(records.Placement(ts=1000, node=f"n{node}", group=f"g{node}", gpus=gpus, model=f"m{node % 20}"))
    kinds = [str(type(each).__struct_config__.tag) for each in said]
    return [
        Record(at, 1000, "", kind, records.encode(each))
        for at, (kind, each) in enumerate(zip(kinds, said, strict=True))
    ]


def burst() -> list[Record]:
    log = []
    for number in range(CHANGES):
        score = (number % 11) / 10
        change = records.ConditionChange(
            ts=1000 + number,
            cluster="c",
            node=f"n{number % NODES}",
            uuid=f"GPU-{number % GPUS}",
            score=score,
            held=score,
            condition=Condition.of_score(score),
            reasons=[HOT],
        )
        log.append(Record(number, change.ts, change.uuid, "condition", records.encode(change)))
    return log


def main() -> None:
    log, decode = burst(), msgspec.json.Decoder(records.ConditionChange).decode
    start = time.process_time()
    for record in log:
        decode(record.value)
    decoding = time.process_time() - start
    for name, policy in POLICIES.items():
        task = ClusterTask()
        task.step(fleet(policy))
        start = time.process_time()
        outputs = len(task.step(log))
        took = time.process_time() - start
        print(f"{name}: {CHANGES} changes in {took:.2f} s, {outputs} outputs; {took / decoding:.0f} x decoding alone")


if __name__ == "__main__":
    main()
