"""What every rival computes for every message: correctable errors in the last hour, in slots of a minute."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

FIELD = "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"
SLOTS, SLOT_MS = 60, 60_000

State = dict[str, Any]  # last: the counter; slots: [minute, errors], oldest first


def update(state: State, sample: dict[str, Any]) -> float:
    """Take one sample into the state of its GPU; the errors of the last hour."""
    value, slot = sample[FIELD], sample["ts"] // SLOT_MS
    last, slots = state.get("last", value), state.setdefault("slots", [])
    increase = value - last if value >= last else value
    state["last"] = value
    while slots and slots[0][0] <= slot - SLOTS:
        slots.pop(0)
    if slots and slots[-1][0] == slot:
        slots[-1][1] += increase
    elif increase:
        slots.append([slot, increase])
    return float(sum(count for _, count in slots))


class Meter:
    """Messages per second, by the clock and of the processor, between the first `warm` and all `count` of them."""

    def __init__(self, warm: int, count: int) -> None:
        self._warm = warm
        self._count = count
        self._done = 0

    def add(self) -> bool:
        """One more; True when it was the last: then the figures have been printed."""
        self._done += 1
        if self._done == self._warm:
            self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        if self._done != self._count:
            return False
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        found = json.dumps([(self._count - self._warm) / each for each in (wall_s, cpu_s)])
        print(found, file=sys.__stdout__, flush=True)  # where Faust has made a log of the other one
        return True
