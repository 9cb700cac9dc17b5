"""A cluster stage with what readers of its topics see."""

from __future__ import annotations

from typing import Any

import msgspec

from processors.cluster import ClusterTask
from schemas import records, topics
from schemas.log import Output, Record
from schemas.records import Brakes, DeadLetter, Decision, Eviction, gpu_key
from schemas.states import Condition

FREE = {"gpus_out_max": None}
HOT = records.Reason(signal="temperature", level="evict", cap=0.0, text="95 C")


class Stage:
    """A stage and what readers of its topics see."""

    def __init__(self, **policy: Any) -> None:
        self.task = ClusterTask()
        self.ts = 1000
        self.offset = 0
        self.log: list[Record] = []
        self.outputs: list[Output] = []
        self.decisions: dict[str, Decision] = {}
        self.evictions: list[tuple[str, Eviction]] = []
        self.brakes: list[Brakes] = []
        self.dead: list[DeadLetter] = []
        if policy:
            self.policy("p", **policy)

    def feed(self, kind: str, value: bytes, key: str = "default") -> list[Output]:
        self.log.append(Record(self.offset, self.ts, key, kind, value))
        outputs = self.task.step(self.log[-1:])
        assert [output.ordinal for output in outputs] == list(range(len(outputs)))
        assert {output.offset for output in outputs} <= {self.offset}
        self.offset += 1
        self.outputs += outputs
        for output in outputs:
            if output.kind == "tombstone":
                if output.topic == topics.DECISIONS:
                    del self.decisions[output.key]
            elif output.topic == topics.DECISIONS:
                self.decisions[output.key] = msgspec.json.decode(output.value, type=Decision)
            elif output.topic == topics.EVICTIONS:
                self.evictions.append((output.key, msgspec.json.decode(output.value, type=Eviction)))
            elif output.topic == topics.BRAKES:
                self.brakes.append(msgspec.json.decode(output.value, type=Brakes))
            elif output.topic == topics.DEAD_LETTER:
                self.dead.append(msgspec.json.decode(output.value, type=DeadLetter))
        return outputs

    def judge(self, uuid: str, held: float | None, *, node: str = "n1", **more: Any) -> list[Output]:
        """held: None = unknown."""
        condition = Condition.UNKNOWN if held is None else Condition.of_score(held)
        score = 1.0 if held is None else held
        values: dict[str, Any] = {"score": score, "held": score, "condition": condition, **more}
        change = records.ConditionChange(ts=self.ts, cluster="c", node=node, uuid=uuid, **values)
        return self.feed("condition", records.encode(change), gpu_key(node, uuid, change.bdf))

    def tick(self, ts: int) -> list[Output]:
        self.ts = ts
        return self.feed("tick", records.encode(records.Tick(ts=ts)))

    def restore(self, uuid: str = "", *, node: str = "n1", bdf: str = "", action: str = "restore") -> list[Output]:
        word = records.Operator(ts=self.ts, node=node, action=action, uuid=uuid, bdf=bdf, author="ann", note="ok")
        return self.feed("operator", records.encode(word))

    def policy(self, id: str, ts: int = 0, **cluster: Any) -> list[Output]:
        change = records.PolicyChange(ts=ts, id=id, document={"cluster": cluster})
        return self.feed("policy", records.encode(change))

    def gone(self, uuid: str, bdf: str, node: str = "n1") -> list[Output]:
        return self.feed("gone", records.encode(records.Gone(ts=self.ts, cluster="c", node=node, uuid=uuid, bdf=bdf)))

    def restart(self) -> None:
        """From a checkpoint, as after a crash."""
        saved, self.task = self.task.checkpoint(), ClusterTask()
        self.task.restore(saved)

    def say(self, said: Any, key: str = "default") -> list[Output]:
        """Any record, as it is."""
        return self.feed(str(type(said).__struct_config__.tag), records.encode(said), key)

    def inventory(self, boot: str, *gpus: str, node: str = "n1", **info: Any) -> list[Output]:
        listed = [records.GpuInfo(uuid=uuid, **{"model": "NVIDIA H100 80GB HBM3", **info}) for uuid in gpus]
        return self.say(records.Inventory(ts=self.ts, node=node, gpus=listed, boot=boot))

    def serving(self, uuid: str, state: str, in_flight: int | None = None, *, node: str = "n1") -> list[Output]:
        """What a scheduler says of the open case."""
        case = self.case(uuid).opened
        return self.say(
            records.Serving(
                ts=self.ts, node=node, uuid=uuid, scheduler="slurm", state=state, in_flight=in_flight, case=case
            )
        )

    def answer(
        self,
        uuid: str,
        state: str,
        reason: str = "",
        *,
        node: str = "n1",
        order: records.Order | None = None,
        **more: Any,
    ) -> list[Output]:
        """What a node says of an order, that which is outstanding unless another one is given."""
        order = order or self.case(uuid).order
        assert order is not None
        result = records.CommandResult(
            ts=self.ts, node=node, id=order.id, action=order.action, state=state, reason=reason, uuid=uuid, **more
        )
        return self.say(result)

    def case(self, uuid: str) -> Eviction:
        """As readers of the compacted topic have it."""
        return next(eviction for key, eviction in reversed(self.evictions) if key == uuid)

    def stands(self, uuid: str) -> tuple[str | None, str]:
        """The step, and what it waits for."""
        case = self.case(uuid)
        return case.step, case.waits

    def weights(self) -> dict[str, float]:
        return {key: decision.weight for key, decision in sorted(self.decisions.items())}

    def states(self) -> dict[str, str]:
        return {key: decision.state.value for key, decision in sorted(self.decisions.items())}
