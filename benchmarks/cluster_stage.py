"""A burst of 10,000 condition changes through the cluster stage, beside merely decoding them."""

from __future__ import annotations

import time

import msgspec

from processors.cluster import ClusterTask
from schemas import records
from schemas.log import Record
from schemas.states import Condition

CHANGES, GPUS, NODES = 10_000, 2_000, 250
HOT = records.Reason(signal="temperature", level="evict", cap=0.0, quantity="temperature_c", value=95.0, unit="C")


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
    start = time.process_time()
    decisions = len(ClusterTask().step(log))
    took = time.process_time() - start
    print(f"{CHANGES} condition changes in {took:.2f} s, {decisions} outputs; {took / decoding:.0f} x decoding alone")


if __name__ == "__main__":
    main()
