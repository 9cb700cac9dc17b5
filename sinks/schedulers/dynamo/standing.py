"""How a worker stands, from what the discovery, our saved records and the worker itself say."""

from __future__ import annotations

from typing import NamedTuple

from sinks.schedulers.adapter import Standing
from sinks.schedulers.dynamo.in_flight import NOT_HEARD, Heard
from sinks.schedulers.dynamo.saved import SavedUnit

PARTLY = "some of its instance records are out: drain it again, or add it"
ELSEWHERE = "its instance record is out, and not by us; or it has just started"
NOBODY = "no such worker"
NOT_STOPPED = "it takes no requests, but its process runs on and may hold its GPUs: no command is configured to stop it"
STOPPING = "it was told to stop, and still runs"
LEASE_LOST = "it has left the discovery, but its process still answers"
ENDED = "its process has ended"
LEFT = "it has left the discovery; whether its process has ended cannot be told from here"


class Facts(NamedTuple):
    """present: its instance records are there; partly: only some of those that we know.

    lives: the discovery says so. stoppable: there is a command that stops it.
    """

    present: bool
    partly: bool
    saved: SavedUnit | None
    lives: bool
    stoppable: bool


def standing(facts: Facts, heard: Heard) -> Standing:
    if facts.lives and heard.process == "gone":
        heard = NOT_HEARD  # the address is not its own: what runs there is not known
    if facts.present:
        if facts.partly:
            return Standing("unknown", heard.in_flight, True, PARTLY)
        return Standing("serving", heard.in_flight)
    if facts.saved is None:
        return (
            Standing("drained", heard.in_flight, False, ELSEWHERE)
            if facts.lives
            else Standing("unknown", None, False, NOBODY)
        )
    if facts.lives or heard.process == "there":
        return _alive(facts.saved, facts, heard)
    return Standing("removed", heard.in_flight, True, ENDED if heard.process == "gone" else LEFT)


def _alive(saved: SavedUnit, facts: Facts, heard: Heard) -> Standing:
    if saved.removing and not facts.stoppable and heard.in_flight == 0:
        return Standing("removed", 0, True, NOT_STOPPED)
    if saved.removing and facts.stoppable:
        return Standing("drained", heard.in_flight, True, STOPPING)
    return Standing("drained", heard.in_flight, True, "" if facts.lives else LEASE_LOST)
