"""Whatever is wrong with what stands on the topics is found, and named where it is first; what is forgotten is not."""

from __future__ import annotations

import pytest

from pipeline.kafka.proof import TOMBSTONE_KEPT_MS, Proof, Range, Verdict
from schemas.log import Origin, Output, Part, Record

PART = Part("node", "observations", 1)
NOW_MS = 10 * TOMBSTONE_KEPT_MS


def said(offset: int, ordinal: int = 0, *, topic: str = "rates", key: str = "k", kind: str = "rate") -> Output:
    value = b"" if kind == "tombstone" else f"{offset}.{ordinal}".encode()
    return Output(topic, key, kind, value, 5, offset, ordinal)


def stands(at: int, output: Output, generation: int = 0, partition: int = 1) -> Record:
    origin = Origin("node", partition, output.offset, output.ordinal, generation)
    return Record(at, output.ts, output.key, output.kind, output.value, origin)


def verdict(replayed: list[Output], stored: list[Record], topic: str = "rates") -> Verdict:
    proof = Proof({PART: Range(10, 20)}, 0, NOW_MS)
    proof.add(PART, replayed)
    proof.hold(topic, 0, stored)
    return proof.verdicts()[PART]


OUTPUTS = [said(10), said(10, 1), said(12), said(19, 3)]
STORED = [stands(at, each) for at, each in enumerate(OUTPUTS)]


def test_equal_outputs_are_counted() -> None:
    assert verdict(OUTPUTS, STORED) == Verdict(equal=4)


def test_what_other_input_has_caused_is_passed_over() -> None:
    others = [
        stands(10, said(9)),
        stands(11, said(20)),
        stands(12, said(12), generation=1),
        stands(13, said(12), partition=0),
        Record(14, 5, "k", "rate", b"12.0"),
    ]
    assert verdict(OUTPUTS, STORED + others) == Verdict(equal=4)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"key": "l"}, "key is l, replayed k"),
        ({"kind": "x"}, "kind is x, replayed rate"),
        ({"ts": 6}, "time is 6, replayed 5"),
        ({"value": b"12.1"}, "value is another than the replayed one"),
    ],
)
def test_difference_names_the_record_and_what_is_other(changed: dict[str, object], what: str) -> None:
    other = STORED[2]._replace(**changed)  # type: ignore[arg-type]
    found = verdict(OUTPUTS, [*STORED[:2], other, STORED[3]._replace(value=b"other, but later")])
    assert found.difference == f"node/1: output 0 of observations/1/12: rates/0/2 (key {other.key}): {what}"


def test_output_on_another_topic_is_a_difference() -> None:
    assert verdict([said(12)], [stands(0, said(12))], "xids").difference.endswith("topic is xids, replayed rates")


def test_missing_double_and_foreign_outputs_are_differences() -> None:
    at = "node/1: output 1 of observations/1/10: "
    missing = at + "replayed, but not on rates: a rate with key k"
    assert verdict(OUTPUTS, [*STORED[:1], *STORED[2:]]).difference == missing
    assert (
        verdict(OUTPUTS, [*STORED, STORED[1]]).difference == at + "rates/0/1 (key k) stands there for the second time"
    )
    unsaid = "rates/0/1 (key k) stands there; the replay says nothing of it"
    assert verdict([OUTPUTS[0], *OUTPUTS[2:]], STORED).difference == at + unsaid


def test_compacted_topic_may_have_let_go_of_what_a_newer_record_replaces() -> None:
    outputs = [said(10, topic="scores"), said(11, topic="scores"), said(12, topic="scores", key="other")]
    newest = [stands(1, outputs[1]), stands(2, outputs[2])]
    assert verdict(outputs, newest, "scores") == Verdict(equal=2, replaced=1)
    assert verdict(outputs, [stands(0, outputs[0]), newest[1]], "scores").difference.startswith(
        "node/1: output 0 of observations/1/11: replayed, but not on scores"
    ), "the newest of a key is never let go of"


def test_newer_record_may_come_from_another_part() -> None:
    elsewhere = stands(3, said(2, topic="scores"), partition=0)
    assert verdict([said(10, topic="scores")], [elsewhere], "scores") == Verdict(replaced=1)


def test_removed_key_is_forgotten_after_a_while() -> None:
    gone = [said(10, topic="scores"), said(11, topic="scores", kind="tombstone")]
    assert verdict(gone, [], "scores") == Verdict(replaced=2)
    recent = [each._replace(ts=NOW_MS - 1) for each in gone]
    assert verdict(recent, [], "scores").difference
