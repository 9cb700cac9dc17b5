from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import Column, View
from schemas.sources import CALL_THE_DRIVER, DRIVER, HUNG, WORDS, named, numbers


class TelemetrySource(Signal):
    """Why nothing is heard of the GPU, where its node's agent knows: the source of its telemetry fails.

    The GPU may well be at work while its host engine or exporter is down: unknown, with its weight as it was. Not so
    where the driver does not answer or is not there: then it is of no use to anybody, and failed after a while
    (longer than a driver takes to be replaced).
    """

    name = "telemetry_source"
    quantity = "source_fault"
    required = True
    columns = {"fault": Column("i2")}  # what was wrong at the timer before

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        unknown_after_s: Seconds = 10.0
        hung_failed_after_s: Seconds = 60.0  # the driver does not answer
        driver_failed_after_s: Seconds = 600.0  # it is not loaded, or shows no GPU
        source_down_failed_after_s: Seconds | None = None  # any other cause; none: never

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        fault = fleet.source_fault
        if not np.count_nonzero(fault):
            out.judge(0, hard=True, source_fault=0.0)
            return
        silent = fleet.silent_s
        told = (fault > 0) & ((silent >= policy.unknown_after_s) | ~(fleet.uninformed_s < policy.unknown_after_s))
        classes = np.where(told, -1, 0)
        limits = np.full(fault.size, _or_never(policy.source_down_failed_after_s))
        limits[np.isin(fault, _HANGS)] = policy.hung_failed_after_s
        limits[np.isin(fault, _NO_DRIVER)] = policy.driver_failed_after_s
        lasting = np.minimum(fleet.source_fault_s, silent) >= limits
        classes[told & lasting & fleet.expected & (fleet.planned_until == 0)] = 3
        changed = fault != state.fault
        state.fault = fault
        out.judge(classes, hard=True, source_fault=fault.astype("f8"))
        again = np.flatnonzero(changed & told)
        if again.size:  # another cause behind the same class
            out.judge(classes[again], where=again, hard=True, anew=True, source_fault=fault[again].astype("f8"))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        source, cause = named(int(value)) if value == value else ("", "")
        if cause == HUNG and source in CALL_THE_DRIVER:
            return f"source {source}: calls get no answer, the driver hangs"
        return f"source {source}: {WORDS[cause]}" if source else "no source of telemetry is known to fail"


def _or_never(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds


_HANGS = numbers(HUNG, CALL_THE_DRIVER)
_NO_DRIVER = numbers(DRIVER)
