"""What counts as an actionable alert: a page or a ticket that a person has to act on. One rule, for all who count.

The budget is the product specification's (section 10): at most 3 a day per 1,000 GPUs.
"""

from __future__ import annotations

from schemas.records import Eviction
from schemas.states import Action, Step
from schemas.waits import Wait
from schemas.xid import lookup

BUDGET_PER_DAY_AND_1000_GPUS = 3.0
AS_PLANNED = ("node_removed", "maintenance")  # it goes with the GPU that took its node out; an operator has said so
FOR_PEOPLE = (Step.QUARANTINED, Step.RMA)
FINAL = (Action.EVICT_PERMANENTLY, Action.REMOVE_NODE)  # it does not come back by itself, whatever the workflow does
MONITOR = "monitor"
_XID = "xid_"


def needs_person(eviction: Eviction) -> bool:
    """Whether the case, as this record tells of it, needs a person. One that has, does until it is over.

    Not where that is as planned. Not after a program's own fault (an Xid of the application class) that a drain
    answers, nor while the workflow works on the case by itself: that recovers, or ends with people (`FOR_PEOPLE`).
    Where nothing carries the workflow on, or only an operator can, somebody is needed.
    """
    if eviction.fault in AS_PLANNED:
        return False
    step = eviction.step
    if step in FOR_PEOPLE:
        return True
    recovers = eviction.action is Action.EVICT and _is_application(eviction.fault)
    if step is None:  # a record of before there were steps
        return not recovers
    if step is Step.IN_SERVICE:
        return False
    wait = Wait.of(eviction.waits)
    late = eviction.deadline is None or eviction.ts >= eviction.deadline
    if wait in (Wait.OPERATOR, Wait.REBOOT) and late:
        return True
    if recovers:
        return False
    stands = step is Step.DRAINED and late and wait is not None and not wait.ends_by_itself
    return eviction.action in FINAL or eviction.by_hand or wait is Wait.ACTIONS or stands


def _is_application(fault: str) -> bool:
    code = fault.removeprefix(_XID)
    return code != fault and code.isdecimal() and lookup(int(code)).application


def alert_id(eviction: Eviction) -> str:
    """What cases that are one alert have in common: their incident; without one, a node and the moment they opened.

    A node that falls silent opens a case for each of its GPUs at once: that is one thing to look at.
    """
    return eviction.incident or f"{eviction.node}/{eviction.opened}"


def orders(action: str) -> bool:
    """Whether a prediction that says `action` asks somebody to do something."""
    return action not in ("", MONITOR)
