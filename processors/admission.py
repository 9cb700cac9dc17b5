"""Who of those that wait to be taken out is to be asked about now, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Set

from processors.brakes import WIDE, Brakes
from processors.fleet import Fleet, Member


def candidates(fleet: Fleet, brakes: Brakes, touched: Set[str]) -> Iterator[Member]:
    """Firm faults first, then the worst score; each still waits when it is its turn.

    They are those that something has been said of, and those whom a brake holds that has let go. While something holds
    back all that is discretionary, the others cost nothing: a brake that lets go meanwhile leaves them to that.
    """
    asked = fleet.waiting & touched
    wide = brakes.wide()
    loosened = [held_by for held_by in brakes.loosened() if held_by in fleet.held]
    if wide:
        for held_by in loosened:
            for key in sorted(fleet.held[held_by]):
                fleet.hold(fleet.members[key], wide)
    else:
        for held_by in (*WIDE, *loosened):
            asked |= fleet.held.get(held_by, set())
    members = sorted((fleet.members[key] for key in asked), key=lambda member: member.urgency)
    return (member for member in members if member.key in fleet.waiting)
