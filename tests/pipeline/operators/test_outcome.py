"""What is made of the records that follow an operator's word."""

from __future__ import annotations

from pipeline.operators.outcome import Outcome, Trace
from schemas import records
from schemas.dead_letters import letter
from schemas.log import Origin, Record
from schemas.topics import BRAKES, DEAD_LETTER, FLEET_EVENTS

WORD = records.Operator(ts=1, node="n1", action="hold", id="a" * 32)
OTHER = records.Operator(ts=1, node="n1", action="hold", id="b" * 32)


def event(word: records.Operator, offset: int) -> Record:
    return Record(offset, 1, word.node, "operator", records.encode(word))


def refusal(word: records.Operator, source: str) -> Record:
    told = letter(source, event(word, 0), "why")
    return Record(0, 1, source, "dead-letter", records.encode(told))


def brakes(offset: int, detail: str) -> Record:
    told = records.Brakes(ts=1, cluster="c", detail=detail, policy="p")
    return Record(0, 1, "c", "brakes", records.encode(told), Origin("cluster", 0, offset, 0))


def test_it_is_taken_once_the_cluster_stage_has_gone_past_it() -> None:
    """Whatever order its records are read in."""
    trace = Trace(WORD)
    assert trace.outcome(100) is None
    trace.take(BRAKES, brakes(7, "hold of cluster by ann"))
    trace.take(BRAKES, brakes(8, "hold of node n2 by bob"))
    trace.take(FLEET_EVENTS, event(OTHER, 6))
    trace.take(FLEET_EVENTS, event(WORD, 7))
    assert trace.outcome(7) is None
    assert trace.outcome(8) == Outcome(True, "hold of cluster by ann")


def test_what_the_node_stage_refuses_is_never_handed_on() -> None:
    trace = Trace(WORD)
    trace.take(DEAD_LETTER, refusal(OTHER, "observations/0/3"))
    trace.take(DEAD_LETTER, Record(0, 1, "", "dead-letter", b"{"))
    assert trace.outcome(0) is None
    trace.take(DEAD_LETTER, refusal(WORD, "observations/0/4"))
    assert trace.outcome(0) == Outcome(False, "why")


def test_a_letter_counts_only_once_its_place_is_committed() -> None:
    """Another try of a transaction that was given up may find the word elsewhere."""
    trace = Trace(WORD)
    trace.take(DEAD_LETTER, refusal(WORD, "fleet-events/0/7"))
    trace.take(FLEET_EVENTS, event(WORD, 7))
    assert trace.outcome(7) is None
    assert trace.outcome(8) == Outcome(False, "why")
