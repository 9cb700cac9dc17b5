"""What is to be done with a unit, and what to say of a GPU: functions of what is wanted and what is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from schemas.states import Step, Wanted
from sinks.schedulers.adapter import Gpu, Standing, State
from sinks.schedulers.view import Case

_SEVERITY = {wanted: severity for severity, wanted in enumerate(Wanted)}
_LEAST_OUT: tuple[State, ...] = ("serving", "unknown", "drained", "removed")
_FLOWING = (Step.DRAINING, Step.FORCING)  # requests end, and somebody waits for the last one


class Call(StrEnum):
    DRAIN = "drain"
    FORCE = "force"
    REMOVE = "remove"
    ADD = "add"


class Want(NamedTuple):
    """What is wanted of a unit, and the case that wants the most of it."""

    wanted: Wanted
    case: Case

    @property
    def note(self) -> str:
        """One line for people who look at the scheduler."""
        case = self.case
        name = case.gpu.uuid or f"{case.gpu.node}/{case.gpu.bdf}"
        return " ".join(f"{case.step} {name} since {case.opened}: {case.cause}".split())


def wants(cases: Sequence[Case], units: Mapping[Gpu, Collection[str]]) -> dict[str, Want]:
    """Of each unit the most that any of its GPUs asks for. Among equals the first case stands for it."""
    found: dict[str, Want] = {}
    for case in cases:
        for unit in sorted(units.get(case.gpu, ())):
            known = found.get(unit)
            if known is None or _SEVERITY[case.wanted] > _SEVERITY[known.wanted]:
                found[unit] = Want(case.wanted, case)
    return found


def next_call(wanted: Wanted, standing: Standing) -> Call | None:
    """The one step that brings a unit nearer to what is wanted; None: it is there, or nothing can be done now.

    A unit that stands further out than is wanted stays as it is until it may serve: half a way back helps nobody.
    What we have begun is brought to its end where it cannot be told how far it came.
    """
    if standing.state == "unknown" and not standing.ours:
        return None
    if wanted is Wanted.SERVING:
        return Call.ADD if standing.ours and standing.state != "serving" else None
    if wanted is Wanted.REMOVED:
        return Call.REMOVE if standing.state != "removed" else None
    if standing.state in ("serving", "unknown"):
        return Call.DRAIN
    if wanted is Wanted.FORCED and standing.state == "drained" and standing.in_flight != 0:
        return Call.FORCE
    return None


def of_gpu(standings: Sequence[Standing]) -> Standing:
    """How a GPU stands that these units use: as far out as the one that is least so, with the requests of all."""
    if not standings:
        return Standing("unknown", detail="the scheduler does not know this GPU")
    counts = [each.in_flight for each in standings]
    known = [count for count in counts if count is not None]
    return Standing(
        min((each.state for each in standings), key=_LEAST_OUT.index),
        sum(known) if len(known) == len(counts) else None,
        any(each.ours for each in standings),
        "; ".join(dict.fromkeys(each.detail for each in standings if each.detail)),
    )


def is_moving(case: Case, standing: Standing) -> bool:
    """Whether the next look may soon tell something that the case waits for."""
    if standing.state == "unknown":
        return False
    if case.wanted is Wanted.REMOVED:
        return standing.state != "removed"
    return standing.state == "serving" or (case.step in _FLOWING and standing.in_flight != 0)


def is_settled(standings: Sequence[Standing]) -> bool:
    """Of a GPU that may serve: nothing of ours is left to undo."""
    return not any(each.ours and each.state != "serving" for each in standings)
