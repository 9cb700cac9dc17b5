"""What a replay said, held against what stands on the topics: the same records, each once, equal to the byte."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from schemas import topics
from schemas.log import Output, Part, Record

DIGEST_BYTES = 16
TOMBSTONE_KEPT_MS = 86_400_000  # Kafka's default: then a compacted topic forgets that a key was removed


class Range(NamedTuple):
    """Input of a part: offsets from `first` to below `end`."""

    first: int
    end: int


@dataclass(slots=True)
class Verdict:
    """On one part. equal: outputs that stand on their topics as replayed. replaced: outputs whose topic keeps
    only the newest of each key, and has a newer one. difference: the first one, in words; "" if there is none.
    """

    equal: int = 0
    replaced: int = 0
    difference: str = ""


@dataclass(slots=True)
class _Said:
    """What one part said, in columns: 60 bytes an output, whatever is in it."""

    offsets: array[int] = field(default_factory=lambda: array("q"))
    ordinals: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    names: list[tuple[str, str]] = field(default_factory=list)  # topic and kind; few, and so shared
    keys: list[str] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    worst: tuple[int, int, str] | None = None  # offset, ordinal, what is wrong

    def find(self, offset: int, ordinal: int) -> int | None:
        at: int = bisect_left(self.offsets, offset)
        if at + ordinal < len(self.offsets) and self._place(at + ordinal) == (offset, ordinal):
            return at + ordinal
        while at < len(self.offsets) and self._place(at) < (offset, ordinal):
            at += 1
        return at if at < len(self.offsets) and self._place(at) == (offset, ordinal) else None

    def _place(self, at: int) -> tuple[int, int]:
        return self.offsets[at], self.ordinals[at]

    def wrong(self, offset: int, ordinal: int, what: str) -> None:
        if self.worst is None or (offset, ordinal) < self.worst[:2]:
            self.worst = offset, ordinal, what


class Proof:
    """ranges: which input was replayed, per part. First `add` all that was said, then `hold` what stands there.

    generation: of the log; records of an earlier one are none of ours. now_ms: as of when topics forget.
    """

    def __init__(self, ranges: Mapping[Part, Range], generation: int, now_ms: int) -> None:
        self._ranges = {(part.stage, part.partition): (part, range_) for part, range_ in ranges.items()}
        self._generation = generation
        self._now_ms = now_ms
        self._said = {part: _Said() for part in ranges}
        self._names: dict[tuple[str, str], tuple[str, str]] = {}
        self._newest: dict[tuple[str, str], tuple[Part | None, int, int]] = {}
        self._removed_ms: dict[tuple[str, str], int] = {}  # keys that the replay removes last, and when

    def add(self, part: Part, outputs: Iterable[Output]) -> None:
        """Outputs of the replay, in their order."""
        said = self._said[part]
        for output in outputs:
            name = output.topic, output.kind
            said.offsets.append(output.offset)
            said.ordinals.append(output.ordinal)
            said.times.append(output.ts)
            said.names.append(self._names.setdefault(name, name))
            said.keys.append(output.key)
            said.digests += _digest(output.value)
            said.seen.append(0)
            if output.kind == "tombstone":
                self._removed_ms[output.topic, output.key] = output.ts
            elif self._removed_ms:
                self._removed_ms.pop((output.topic, output.key), None)

    def hold(self, topic: str, partition: int, records: Iterable[Record]) -> None:
        """Committed records of an output topic, in their order; those of other input are passed over."""
        compacted = topics.TOPICS[topic].compacted
        for record in records:
            found = None
            if record.origin and record.origin.generation == self._generation:
                found = self._ranges.get((record.origin.stage, record.origin.partition))
            if compacted:
                place = record.origin[2:4] if record.origin else (-1, -1)
                self._newest[topic, record.key] = (found[0] if found else None, *place)
            if found and record.origin and found[1].first <= record.origin.offset < found[1].end:
                self._compare(found[0], topic, partition, record, record.origin.offset, record.origin.ordinal)

    def verdicts(self) -> dict[Part, Verdict]:
        return {part: self._verdict(part, said) for part, said in self._said.items()}

    def _compare(self, part: Part, topic: str, partition: int, record: Record, offset: int, ordinal: int) -> None:
        said = self._said[part]
        where = f"{topic}/{partition}/{record.offset} (key {record.key or 'none'})"
        at = said.find(offset, ordinal)
        if at is None:
            return said.wrong(offset, ordinal, f"{where} stands there; the replay says nothing of it")
        if said.seen[at]:
            return said.wrong(offset, ordinal, f"{where} stands there for the second time")
        said.seen[at] = 1
        differing = [
            f"{what} is {recorded}, replayed {replayed}"
            for what, recorded, replayed in (
                ("topic", topic, said.names[at][0]),
                ("key", record.key, said.keys[at]),
                ("kind", record.kind, said.names[at][1]),
                ("time", record.ts, said.times[at]),
            )
            if recorded != replayed
        ]
        if _digest(record.value) != said.digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]:
            differing.append("value is another than the replayed one")
        if differing:
            said.wrong(offset, ordinal, f"{where}: {'; '.join(differing)}")

    def _verdict(self, part: Part, said: _Said) -> Verdict:
        verdict = Verdict()
        for at in range(len(said.offsets)):
            if said.seen[at]:
                verdict.equal += 1
            elif self._replaced(part, said, at):
                verdict.replaced += 1
            else:
                topic, kind = said.names[at]
                what = f"replayed, but not on {topic}: a {kind} with key {said.keys[at] or 'none'}"
                said.wrong(said.offsets[at], said.ordinals[at], what)
        if said.worst:
            offset, ordinal, what = said.worst
            place = f"{part.topic}/{part.partition}/{offset}"
            verdict.difference = f"{part.stage}/{part.partition}: output {ordinal} of {place}: {what}"
        return verdict

    def _replaced(self, part: Part, said: _Said, at: int) -> bool:
        """Whether a compacted topic had reason to let go of what was said."""
        topic, key = said.names[at][0], said.keys[at]
        if not topics.TOPICS[topic].compacted:
            return False
        if newest := self._newest.get((topic, key)):
            by, *place = newest
            return by != part or place > [said.offsets[at], said.ordinals[at]]
        return self._removed_ms.get((topic, key), self._now_ms) < self._now_ms - TOMBSTONE_KEPT_MS


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=DIGEST_BYTES).digest()
