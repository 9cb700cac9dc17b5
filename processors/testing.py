"""A stage at your desk: write observations down, run the stages over them, read typed records. Pure, milliseconds.

said = judge(
    Observations().frame("n1", 0.0, {GPU_TEMP: [50, 95]}).tick(10.0)
)
assert [score.condition for score in said.scores] == ["failed", "healthy"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import msgspec

from processors.cluster import ClusterTask
from processors.node import NodeTask
from processors.policy import Policy, to_change
from processors.task import Task
from schemas import frames, records, topics
from schemas.log import Output, Record
from schemas.records import Gpu, encode

START_MS = 1_767_225_600_000  # 0.0 s in all that follows: a multiple of an hour

Values = Sequence[float | None] | float | None


def gpu(node: str, number: int = 0) -> Gpu:
    """The GPU that `Observations` means by a number."""
    return Gpu(uuid=f"GPU-{node}-{number}", bdf=f"0000:{number + 1:02x}:00")


def ms(at_s: float) -> int:
    return START_MS + round(1000 * at_s)


class Observations:
    """The input log of the node stage, written record by record. Times are seconds after `START_MS`.

    Frames and faults are numbered by themselves. `at_s` is the node's time, and that of the append unless
    `append_s` says otherwise.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._numbers: dict[tuple[str, str, int], int] = {}

    def add(self, at_s: float, key: str, kind: str, value: bytes) -> Self:
        """Any record at all, as the log would hold it."""
        self.records.append(Record(len(self.records), ms(at_s), key, kind, value))
        return self

    def frame(
        self,
        node: str,
        at_s: float,
        columns: Mapping[int, Values],
        *,
        gpus: Sequence[Gpu] | int | None = None,
        ticks_s: Sequence[float] | None = None,
        append_s: float | None = None,
        epoch: int = 1,
        seq: int | None = None,
        cluster: str = "default",
    ) -> Self:
        """Telemetry. columns: field -> one value for all GPUs, a value each, or one per (tick, GPU).

        gpus: their number, or who they are; as many as there are values unless said. ticks_s: node times of the
        samples in seconds, `at_s` alone unless said.
        """
        ticks = [at_s] if ticks_s is None else ticks_s
        if gpus is None:
            counts = [len(values) for values in columns.values() if isinstance(values, Sequence)]
            gpus = max(min(counts, default=1) // (len(ticks) if ticks_s is not None else 1), 1)
        listed = [gpu(node, number) for number in range(gpus)] if isinstance(gpus, int) else list(gpus)
        full = {
            field: list(values) if isinstance(values, Sequence) else [values] * len(listed)
            for field, values in columns.items()
        }
        frame = frames.build(
            node=node,
            seq=self._number(node, "telemetry", epoch) if seq is None else seq,
            gpus=listed,
            ticks=[ms(tick) for tick in ticks],
            columns=full,
            cluster=cluster,
            epoch=epoch,
        )
        return self.add(at_s if append_s is None else append_s, node, frames.KIND, frames.encode(frame))

    def fault(
        self,
        node: str,
        at_s: float,
        code: int | None,
        of: int | Gpu = 0,
        *,
        append_s: float | None = None,
        epoch: int = 1,
        seq: int | None = None,
        **more: Any,
    ) -> Self:
        """A kernel fault (an Xid unless `fault` says otherwise) of a GPU, by number or name."""
        named = gpu(node, of) if isinstance(of, int) else of
        said: dict[str, Any] = {"ts": ms(at_s), "fault": "xid", "uuid": named.uuid, "bdf": named.bdf, **more}
        number = self._number(node, "faults", epoch) if seq is None else seq
        fault = records.KernelFault(node=node, epoch=epoch, seq=number, code=code, **said)
        return self.add(at_s if append_s is None else append_s, node, "kernel", encode(fault))

    def inventory(self, node: str, at_s: float, gpus: Sequence[Gpu] | int = 1, *, epoch: int = 1, **more: Any) -> Self:
        listed = [gpu(node, number) for number in range(gpus)] if isinstance(gpus, int) else gpus
        infos = [records.GpuInfo(uuid=each.uuid, bdf=each.bdf) for each in listed]
        seq = self._number(node, "faults", epoch)
        inventory = records.Inventory(ts=ms(at_s), node=node, epoch=epoch, seq=seq, gpus=infos, **more)
        return self.add(at_s, node, "inventory", encode(inventory))

    def report(self, at_s: float, observation: records.Observation, *, epoch: int = 1) -> Self:
        """Any observation of a node but telemetry, numbered and dated by this."""
        node = observation.node
        seq = self._number(node, "faults", epoch)
        told = msgspec.structs.replace(observation, ts=ms(at_s), epoch=epoch, seq=seq)
        return self.add(at_s, node, str(type(told).__struct_config__.tag), encode(told))

    def restore(self, node: str, at_s: float, of: int | Gpu = 0) -> Self:
        """An operator vouches for a GPU."""
        named = gpu(node, of) if isinstance(of, int) else of
        word = records.Operator(ts=ms(at_s), node=node, action="restore", uuid=named.uuid, bdf=named.bdf)
        return self.add(at_s, node, "operator", encode(word))

    def policy(self, at_s: float, policy: Policy) -> Self:
        return self.add(at_s, "", "policy", encode(to_change(policy, ms(at_s))))

    def tick(self, at_s: float) -> Self:
        return self.add(at_s, "", "tick", encode(records.Tick(ts=ms(at_s))))

    def ticks(self, start_s: float, end_s: float, every_s: float = 1.0) -> Self:
        """Nothing but the time, from `start_s` to `end_s` inclusive."""
        for number in range(int((end_s - start_s) / every_s + 1e-9) + 1):
            self.tick(start_s + number * every_s)
        return self

    def _number(self, node: str, what: str, epoch: int) -> int:
        number = self._numbers[node, what, epoch] = self._numbers.get((node, what, epoch), 0) + 1
        return number


class Said:
    """Outputs of a stage, readable: typed records by topic, in their order; tombstones only in `outputs`."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.outputs = list(outputs)

    def of(self, topic: str, kind: str = "") -> Iterator[Any]:
        for output in self.outputs:
            if output.topic == topic and output.kind != "tombstone" and kind in ("", output.kind):
                yield msgspec.json.decode(output.value, type=_TYPES[output.kind])

    @property
    def scores(self) -> list[records.Score]:
        return list(self.of(topics.SCORES))

    @property
    def predictions(self) -> list[records.Prediction]:
        return list(self.of(topics.PREDICTIONS))

    @property
    def conditions(self) -> list[records.ConditionChange]:
        return list(self.of(topics.FLEET_EVENTS, "condition"))

    @property
    def gone(self) -> list[records.Gone]:
        return list(self.of(topics.FLEET_EVENTS, "gone"))

    @property
    def xids(self) -> list[records.Xid]:
        return list(self.of(topics.XIDS))

    @property
    def incidents(self) -> list[records.Incident]:
        return list(self.of(topics.INCIDENTS))

    @property
    def latest_incidents(self) -> dict[str, records.Incident]:
        """The newest by id: what a reader of the compacted topic sees, if none is long over."""
        return {incident.id: incident for incident in self.incidents}

    @property
    def rates(self) -> list[records.Rate]:
        return list(self.of(topics.RATES))

    @property
    def revalidations(self) -> list[records.Revalidation]:
        return list(self.of(topics.REVALIDATIONS))

    @property
    def dead_letters(self) -> list[records.DeadLetter]:
        return list(self.of(topics.DEAD_LETTER))

    @property
    def decisions(self) -> list[records.Decision]:
        return list(self.of(topics.DECISIONS))

    @property
    def evictions(self) -> list[records.Eviction]:
        return list(self.of(topics.EVICTIONS))

    @property
    def groups(self) -> list[records.GroupVerdict]:
        return list(self.of(topics.GROUPS))

    @property
    def counts(self) -> dict[str, int]:
        """What the node stage has dropped or corrected up to its newest tick."""
        ticks = list(self.of(topics.FLEET_EVENTS, "tick"))
        return ticks[-1].counts if ticks else {}

    @property
    def latest(self) -> dict[str, records.Score]:
        """The newest score by key (tombstones heeded): what a reader of the compacted topic sees."""
        newest: dict[str, records.Score] = {}
        for output in self.outputs:
            if output.topic == topics.SCORES and output.kind == "tombstone":
                newest.pop(output.key, None)
            elif output.topic == topics.SCORES:
                newest[output.key] = msgspec.json.decode(output.value, type=records.Score)
        return newest


def judge(observations: Observations | Sequence[Record], task: Task | None = None) -> Said:
    """What the node stage (a fresh one unless given) says to the observations."""
    log = observations.records if isinstance(observations, Observations) else observations
    return Said((NodeTask() if task is None else task).step(log))


def decide(said: Said, task: Task | None = None) -> Said:
    """What the cluster stage says to what the node stage has said."""
    events = [output for output in said.outputs if output.topic == topics.FLEET_EVENTS]
    log = [Record(offset, event.ts, event.key, event.kind, event.value) for offset, event in enumerate(events)]
    return Said((ClusterTask() if task is None else task).step(log))


_TYPES: dict[str, Any] = {
    "score": records.Score,
    "prediction": records.Prediction,
    "condition": records.ConditionChange,
    "gone": records.Gone,
    "tick": records.Tick,
    "operator": records.Operator,
    "policy": records.PolicyChange,
    "xid": records.Xid,
    "incident": records.Incident,
    "rate": records.Rate,
    "revalidation": records.Revalidation,
    "revalidated": records.Revalidated,
    "inventory": records.Inventory,
    "decision": records.Decision,
    "eviction": records.Eviction,
    "group": records.GroupVerdict,
    "dead-letter": records.DeadLetter,
}
