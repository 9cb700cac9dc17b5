"""Tensor-parallel groups of 72 GPUs in the cluster stage: a cold start, links that flap in one group, a quiet day."""

from __future__ import annotations

import time

import msgspec

from processors.cluster import ClusterTask
from schemas import records, topics
from schemas.log import Record
from schemas.states import Condition

GROUPS, GPUS, PER_NODE, LINKS = 200, 72, 4, 18
START_MS = 1_767_225_600_000
COLD_MS = 30_000  # within which agents have told everything once
STORM_MS, FLAPS = 10_000, 2_000
DAY_MS, TICK_MS = 86_400_000, 5_000


def log_of(said: list[tuple[int, msgspec.Struct]], offset: int = 0) -> list[Record]:
    """said: (milliseconds after the start, record)."""
    ordered = sorted(said, key=lambda entry: entry[0])
    return [
        Record(
            offset + at,
            START_MS + ms,
            getattr(each, "uuid", ""),
            str(type(each).__struct_config__.tag),
            records.encode(each),
        )
        for at, (ms, each) in enumerate(ordered)
    ]


def uuid(group: int, number: int) -> str:
    return f"GPU-{group:04}-{number:02}"


def cold_start(groups: int) -> list[Record]:
    """Placements first; then inventories, links and conditions of all GPUs, evenly over the time it takes."""
    said: list[tuple[int, msgspec.Struct]] = []
    for group in range(groups):
        gpus = [uuid(group, number) for number in range(GPUS)]
        said.append((0, records.Placement(ts=START_MS, node=f"n{group}-0", group=f"g{group:04}", gpus=gpus)))
        for number, gpu in enumerate(gpus):
            node = f"n{group}-{number // PER_NODE}"
            at_ms = (number * groups + group) * COLD_MS // (GPUS * groups)
            ts = START_MS + at_ms
            if number % PER_NODE == 0:
                tray = [records.GpuInfo(uuid=each, model="NVIDIA GB200") for each in gpus[number : number + PER_NODE]]
                said.append((at_ms, records.Inventory(ts=ts, node=node, gpus=tray, rack=f"r{group}")))
            healthy = records.ConditionChange(
                ts=ts, cluster="c", node=node, uuid=gpu, score=1.0, held=1.0, condition=Condition.HEALTHY
            )
            said += [(at_ms, links(group, number, LINKS, at_ms)), (at_ms, healthy)]
    said.append((COLD_MS + 1000, records.Tick(ts=START_MS + COLD_MS + 1000)))  # what waits has its turn
    return log_of(said)


def links(group: int, number: int, up: int, at_ms: int) -> records.LinkStatus:
    states = ["up"] * up + ["down"] * (LINKS - up)
    node = f"n{group}-{number // PER_NODE}"
    return records.LinkStatus(ts=START_MS + at_ms, node=node, uuid=uuid(group, number), links=states)


def storm(start_ms: int, offset: int) -> list[Record]:
    """Links of all GPUs of one group go down and come up, one change every few milliseconds."""
    said: list[tuple[int, msgspec.Struct]] = []
    for flap in range(FLAPS):
        at_ms = start_ms + flap * STORM_MS // FLAPS
        up = LINKS - (flap // GPUS + flap) % 7
        said.append((at_ms, links(0, flap % GPUS, up, at_ms)))
    return log_of(said, offset)


def quiet_day(start_ms: int, offset: int) -> list[Record]:
    """Ticks, and now and then a GPU that says of its links what is known."""
    said: list[tuple[int, msgspec.Struct]] = []
    for number, at_ms in enumerate(range(start_ms, start_ms + DAY_MS, TICK_MS)):
        said.append((at_ms, records.Tick(ts=START_MS + at_ms)))
        said.append((at_ms, links(1 + number % (GROUPS - 1), number % GPUS, LINKS, at_ms)))
    return log_of(said, offset)


def timed(what: str, task: ClusterTask, log: list[Record]) -> None:
    start = time.process_time()
    verdicts = sum(output.topic == topics.GROUPS for output in task.step(log))
    print(f"{what}: {len(log)} records in {time.process_time() - start:.2f} s of CPU, {verdicts} verdicts")


def main() -> None:
    task, log = ClusterTask(), cold_start(GROUPS)
    timed(f"cold start of {GROUPS} groups of {GPUS} GPUs", task, log)
    flaps = storm(2 * COLD_MS, len(log))
    timed(f"links flap in one of them, {FLAPS} changes in {STORM_MS // 1000} s", task, flaps)
    timed("a quiet day", task, quiet_day(3 * COLD_MS + STORM_MS, len(log) + len(flaps)))


if __name__ == "__main__":
    main()
