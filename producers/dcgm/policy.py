"""Policy violations: the engine calls from a thread of its own, we take what it says when we read."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any, NamedTuple

from producers.dcgm.bindings import Bindings
from producers.dcgm.engine import Engine

HELD_MAX = 1000
RETIRED_PAGES = 60  # page retirement ends at 63
CONDITIONS = {  # bit: our name, the member of the answer that belongs to it, what of it is a value
    0x01: ("dbe", "dbe", ("location", "numerrors")),
    0x02: ("pcie", "pci", ("counter",)),
    0x04: ("retired-pages", "mpr", ("sbepages", "dbepages")),
    0x08: ("thermal", "thermal", ("thermalViolation",)),
    0x10: ("power", "power", ("powerViolation",)),
    0x20: ("nvlink", "nvlink", ("fieldId", "counter")),
    0x40: ("xid", "xid", ("errnum",)),
}
ALL = 0x7F
# Set where nobody has. Heat and power have no limit that is right for every GPU: they are told where somebody has
# given the engine one.
OURS = {0x01: True, 0x02: True, 0x04: RETIRED_PAGES, 0x20: True, 0x40: True}
BOOLEAN, NUMBER = 0, 1


class Violation(NamedTuple):
    """gpu: the engine's number. ts: us since the epoch."""

    gpu: int
    ts: int
    condition: str
    value: dict[str, int]


class Policies:
    """What the engine has called with, until it is taken. Outlives connections, as the library may call late."""

    def __init__(self) -> None:
        self._held: deque[Violation] = deque()
        self._lost = 0
        self._callbacks: dict[int, Any] = {}

    def watch(self, engine: Engine, groups: dict[int, Any]) -> None:
        """Have violations reported. groups: of one GPU each, by the GPU: before DCGM 4 a call names none.

        What others have set stays as it is. Raises EngineError.
        """
        for gpu, group in groups.items():
            policy = engine.policy(group)
            policy.version = engine.bindings.structs.dcgmPolicy_version1
            before = policy.condition
            for bit, limit in OURS.items():
                if not before & bit:
                    at = bit.bit_length() - 1
                    policy.condition |= bit
                    policy.parms[at].tag = BOOLEAN if limit is True else NUMBER
                    if limit is True:
                        policy.parms[at].val.boolean = True
                    else:
                        policy.parms[at].val.llval = limit
            if policy.condition != before:
                engine.set_policy(group, policy)
            engine.register(group, ALL, self._callback(gpu, engine.bindings))

    def clear(self) -> None:
        """Forget what came over an earlier connection: its numbers of GPUs may be others."""
        self._held.clear()

    def take(self) -> tuple[list[Violation], int]:
        """What has been reported since the last time, and how many more there were."""
        lost, self._lost = self._lost, 0
        taken = [self._held.popleft() for _ in range(len(self._held))]
        return taken, lost

    def _callback(self, gpu: int, bindings: Bindings) -> Any:
        if gpu not in self._callbacks:
            structs = bindings.structs
            answer = (
                getattr(structs, "c_dcgmPolicyCallbackResponse_v2", None) or structs.c_dcgmPolicyCallbackResponse_v1
            )

            def violated(address: int) -> int:
                try:
                    self._hold(read_violation(gpu, answer.from_address(address)))
                except Exception:  # nobody is above who could be told: it is a loss
                    self._lost += 1
                return 0

            # DCGM 4 passes a second argument, which a callee of one leaves alone.
            self._callbacks[gpu] = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(violated)
        return self._callbacks[gpu]

    def _hold(self, violation: Violation) -> None:
        if len(self._held) >= HELD_MAX:
            self._lost += 1
        else:
            self._held.append(violation)


def read_violation(gpu: int, answer: Any) -> Violation:
    """What the engine has called with; its memory is only good until then."""
    name, member, quantities = CONDITIONS[answer.condition]
    told = getattr(answer.val, member)
    return Violation(gpu, told.timestamp, name, {each: int(getattr(told, each)) for each in quantities})
