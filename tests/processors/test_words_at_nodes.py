"""Operators' words at the node stage: it believes what the cluster stage believes, and hands on what is for that."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from pipeline.kits import check_cuts
from processors.node import NodeTask
from processors.testing import Observations, decide, judge, ms
from schemas import records
from schemas.operators import signed
from schemas.signing import public_half
from schemas.topics import FLEET_EVENTS
from tests.processors.node_stories import GPU0, LAST, alive, begin

KEY = b"k" * 32


def say(log: Observations, at_s: float, word: records.Operator) -> None:
    log.add(at_s, word.node, "operator", records.encode(word))


def restore(at_s: float, **more: Any) -> records.Operator:
    given: dict[str, Any] = {"node": "n1", "action": "restore", "uuid": GPU0, "author": "ann", "id": "w", **more}
    return records.Operator(ts=ms(at_s), **given)


def guarded(log: Observations) -> None:
    """From now on words have to be signed."""
    key = {"public": base64.b64encode(public_half(KEY)).decode(), "may": ["restore", "hold"]}
    change = records.PolicyChange(ts=ms(LAST), id="p", document={"cluster": {"operators": {"ann": key}}})
    log.add(LAST, "", "policy", records.encode(change))


def broken() -> Observations:
    """A GPU with a double-bit error, of a fleet with keys."""
    log = begin()
    guarded(log)
    log.fault("n1", LAST + 1, 48)
    alive(log, LAST + 2, LAST + 10)
    return log


def weight(log: Observations) -> float:
    return {decision.uuid: decision.weight for decision in decide(judge(log)).decisions}[GPU0]


def test_a_signed_word_clears_a_latch_in_both_stages() -> None:
    say(log := broken(), LAST + 11, signed(restore(LAST + 11), "ann", KEY))
    alive(log, LAST + 12, LAST + 400)
    assert weight(log) == 1.0


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (restore(LAST + 11), "it is not signed"),
        (signed(restore(LAST + 11), "ann", b"x" * 32), "its signature is not that of key 'ann'"),
        (signed(restore(LAST + 11, action="maintenance", until=ms(5000)), "ann", KEY), "may not say 'maintenance'"),
        (restore(LAST + 11, id="node-stage"), "its id 'node-stage' is not for operators"),
    ],
)
def test_what_is_forged_changes_nothing_in_any_stage(word: records.Operator, why: str) -> None:
    say(log := broken(), LAST + 11, word)
    alive(log, LAST + 12, LAST + 400)
    judged = judge(log)
    assert weight(log) == 0.0
    [letter] = judged.dead_letters
    assert why in letter.why


def test_what_is_said_again_changes_nothing() -> None:
    word = signed(restore(LAST + 11), "ann", KEY)
    say(log := broken(), LAST + 11, word)
    log.fault("n1", LAST + 12, 48)
    say(log, LAST + 13, word)
    alive(log, LAST + 14, LAST + 400)
    assert weight(log) == 0.0
    assert "said before" in judge(log).dead_letters[0].why


def test_what_is_said_again_after_a_restart_changes_nothing() -> None:
    word = signed(restore(LAST + 11), "ann", KEY)
    say(log := broken(), LAST + 11, word)
    say(log, LAST + 13, word)
    outputs = check_cuts(NodeTask, log.records, rounds=3)
    forwarded = [output for output in outputs if output.topic == FLEET_EVENTS and output.kind == "operator"]
    assert len(forwarded) == 1


def test_a_word_on_more_than_a_node_reaches_the_cluster_stage() -> None:
    log = begin()
    say(log, LAST + 1, restore(LAST + 1, node="", uuid="", action="hold", until=ms(3000)))
    outputs = NodeTask().step(log.tick(LAST + 2).records)
    [word] = [output for output in outputs if output.topic == FLEET_EVENTS and output.kind == "operator"]
    assert (word.key, msgspec.json.decode(word.value, type=records.Operator).action) == ("", "hold")
