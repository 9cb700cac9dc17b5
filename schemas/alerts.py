"""What counts as an actionable alert: a page or a ticket that a person has to act on. One rule, for all who count.

The budget is the product specification's (section 10): at most 3 a day per 1,000 GPUs.
"""

from __future__ import annotations

from schemas.records import Eviction
from schemas.states import Action
from schemas.xid import lookup

BUDGET_PER_DAY_AND_1000_GPUS = 3.0
AS_PLANNED = ("node_removed", "maintenance")  # it goes with the GPU that took its node out; an operator has said so
MONITOR = "monitor"
_XID = "xid_"


def needs_person(eviction: Eviction) -> bool:
    """Whether the case needs a person.

    Not where that is as planned, and not after a program's own fault (an Xid of the application class) that a drain
    answers: that recovers by itself.
    """
    if eviction.fault in AS_PLANNED:
        return False
    code = eviction.fault.removeprefix(_XID)
    if eviction.action is not Action.EVICT or code == eviction.fault or not code.isdecimal():
        return True
    return not lookup(int(code)).application


def alert_id(eviction: Eviction) -> str:
    """What cases that are one alert have in common: their incident; without one, a node and the moment they opened.

    A node that falls silent opens a case for each of its GPUs at once: that is one thing to look at.
    """
    return eviction.incident or f"{eviction.node}/{eviction.opened}"


def orders(action: str) -> bool:
    """Whether a prediction that says `action` asks somebody to do something."""
    return action not in ("", MONITOR)
