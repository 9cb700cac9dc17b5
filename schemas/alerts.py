"""What counts as an actionable alert: a page or a ticket that a person has to act on. One rule, for all who count.

The budget is the product specification's (section 10): at most 3 a day per 1,000 GPUs.
"""

from __future__ import annotations

from schemas.records import Eviction
from schemas.states import Action
from schemas.xid import lookup

BUDGET_PER_DAY_AND_1000_GPUS = 3.0
NODE_REMOVED = "node_removed"
MONITOR = "monitor"
_XID = "xid_"


def needs_person(eviction: Eviction) -> bool:
    """Whether the case needs a person.

    Not where the GPU only goes with the one that took its node out, and not after a program's own fault (an Xid of
    the application class) that a drain answers: that recovers by itself.
    """
    if eviction.fault == NODE_REMOVED:
        return False
    code = eviction.fault.removeprefix(_XID)
    if eviction.action is not Action.EVICT or code == eviction.fault or not code.isdecimal():
        return True
    return not lookup(int(code)).application


def alert_id(eviction: Eviction) -> str:
    """What cases that are one alert have in common: their incident; without one, a node and the moment they opened.

    A node that falls silent opens a case for each of its GPUs at once: that is one thing to look at.
    """
    incident: str = getattr(eviction, "incident", "")
    return incident or f"{eviction.node}/{eviction.opened}"


def orders(action: str) -> bool:
    """Whether a prediction that says `action` asks somebody to do something."""
    return action not in ("", MONITOR)
