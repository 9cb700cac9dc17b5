"""A worker with 100,000 GPUs, killed with -9 under load and started again under the same name.

Measured from the start of the new process to the first record of every partition that the old one had not
committed; by asking its metrics page all the time, so to some 50 ms.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

from benchmarks.kafka_load import Load, broker, made
from benchmarks.kafka_processes import WAIT_S, Worker, generator, wait

FLEET, PARTITIONS = 100_000, 17
ROUNDS = 3
COME_UP_S = 40.0  # the first frames make every GPU known
SAVED_S = 25.0  # within that time every partition saves its state
POLL_S = 0.04
TARGET_S = 2.0
STEPS = ("process up", "partitions assigned", "states restored", "first live records", "caught up")
CAUGHT_UP_S = 1.0


def main() -> None:
    with broker() as started:
        kafka = made(started.bootstrap, "restart", PARTITIONS)
        at_work = Worker(kafka, "--instance", "w1")
        try:
            with generator(kafka, Load(gpus=FLEET)) as fleet:
                wait(lambda: bool(fleet.newest()), "the load's first second")
                time.sleep(COME_UP_S)
                rounds = []
                for _ in range(ROUNDS):
                    wait(partial(keeps_up, at_work), "keeping up")
                    time.sleep(SAVED_S)
                    at_work.kill()
                    began = time.monotonic()
                    at_work = Worker(kafka, "--instance", "w1")
                    rounds.append(steps(at_work, began))
        finally:
            at_work.kill()
    print(f"{'seconds after its start':34}" + "".join(f"{'round ' + str(number + 1):>10}" for number in range(ROUNDS)))
    for step, times in zip(STEPS, zip(*rounds, strict=True), strict=True):
        wanted = f"   median {statistics.median(times):.2f} (less than {TARGET_S:g})" if step == STEPS[3] else ""
        print(f"{step:34}" + "".join(f"{each:10.2f}" for each in times) + wanted, flush=True)


def steps(at_work: Worker, began: float) -> list[float]:
    """When, in seconds from `began`, each of `STEPS` was first true of every partition."""
    found: list[float] = []
    while len(found) < len(STEPS):
        now = time.monotonic()
        metrics = at_work.metrics()
        partitions = metrics.get(("worker_partitions", "node"), {}).get(-1)
        restores = metrics.get(("stage_restores_total", "node"), {}).get(-1)
        live = metrics.get(("stage_restore_seconds_count", "node"), {}).get(-1)
        stepped = len(metrics.get(("stage_watermark_timestamp_seconds", "node"), {}))
        done = [
            bool(metrics),
            partitions == PARTITIONS,
            restores == PARTITIONS,
            live == PARTITIONS == stepped,
            len(found) == 4 and keeps_up(at_work),
        ]
        while len(found) < len(STEPS) and done[len(found)]:
            found.append(now - began)
        if now - began > WAIT_S:
            raise RuntimeError(f"only {STEPS[: len(found)]} within {WAIT_S:g} s")
        time.sleep(POLL_S)
    return found


def keeps_up(at_work: Worker) -> bool:
    return behind_s(at_work) < CAUGHT_UP_S


def behind_s(at_work: Worker) -> float:
    """How long ago was appended what the hindmost partition has just stepped."""
    newest = at_work.metrics().get(("stage_watermark_timestamp_seconds", "node"), {})
    return time.time() - min(newest.values()) if len(newest) == PARTITIONS else float("inf")


if __name__ == "__main__":
    main()
